"""What every task stands on: texts to ids, ids to packed batches, batches to outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mbert.errors import BackendError, BundleError, InputError

from .backends import Session
from .bundle import Bundle
from .inputs import check_sequences
from .late_interaction import UNSEEN_INPUTS
from .manifest import TensorSpec
from .packing import Int32Array, PackedBatch, counted_tokens, pack
from .tokenization import Text, Tokenizer
from .windows import Windows

Array = NDArray[Any]
_Result = TypeVar("_Result")

# Tokens of one packed batch on a CPU. Enough rows to stream the weights rarely; with more, what
# passes from operator to operator leaves the cache (base size, two cores, 10,000 tokens: 4,096 is
# 5% slower).
BATCH_TOKENS = 2048


class Runner:
    """A bundle with its session and its tokenizer; safe to use from several threads."""

    def __init__(self, bundle: Bundle, session: Session) -> None:
        """Run ``session``, which is open, on what ``bundle`` says."""
        self.manifest = bundle.manifest
        self._folder = bundle.folder
        self._session: Session | None = session
        self._tokenizer: Tokenizer | None = None
        if bundle.tokenizer is not None:
            self._tokenizer = Tokenizer(bundle.tokenizer, self.manifest.limits)

    def close(self) -> None:
        """Free the session; every later call that has something to compute is refused."""
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def need(self, task: str | Sequence[str], method: str) -> None:
        """Refuse ``method`` unless the bundle is for ``task``, or one of several.

        Raises:
            InputError: it is for another one.
        """
        tasks = (task,) if isinstance(task, str) else task
        if self.manifest.task not in tasks:
            wanted = " or ".join(tasks)
            raise InputError(
                f"{method} needs a {wanted} bundle; {self._folder} is {self.manifest.task}. Export "
                f"the checkpoint with --task {wanted}."
            )

    @property
    def tokenizer(self) -> Tokenizer:
        """The checkpoint's.

        Raises:
            BundleError: it had none.
        """
        if self._tokenizer is None:
            raise BundleError(
                f"{self._folder} has no tokenizer.json, since the checkpoint had none. Pass token "
                "ids to run(), or export a checkpoint that has one."
            )
        return self._tokenizer

    @property
    def vocab_size(self) -> int:
        """Ids are from 0 to one less."""
        return int(self.manifest.model["vocab_size"])

    @property
    def batch_tokens(self) -> int:
        """Tokens of one packed batch; a GPU is filled."""
        most = self.manifest.limits.max_tokens
        return min(BATCH_TOKENS, most) if self.manifest.target == "cpu" else most

    def encode(self, texts: Sequence[Text], truncate: bool) -> list[Int32Array]:
        """Tokenize texts or pairs of texts, special tokens included.

        Raises:
            InputError: not text; too long, unless ``truncate``; an id beyond the vocabulary.
            BundleError: there is no tokenizer.
        """
        return self.checked(self.tokenizer.encode(texts, truncate))

    def windows(
        self,
        texts: Sequence[Text],
        *,
        overflow: str = "error",
        stride: int | None = None,
        first: int = 0,
        prompt: int = 0,
    ) -> Windows:
        """Tokenize texts or pairs, long ones into several windows where ``overflow`` is "chunk".

        Args:
            texts: what is to be tokenized.
            overflow: of a text that is too long: "error", "truncate" or "chunk".
            stride: see :func:`mbert.runtime.windows.cut`.
            first: the number that messages give to the first text.
            prompt: see :meth:`Tokenizer.windows`.

        Raises:
            InputError: not text; too long, where that is an error; an id beyond the vocabulary.
            BundleError: there is no tokenizer.
        """
        if overflow == "chunk":
            windows = self.tokenizer.windows(texts, stride, first=first, prompt=prompt)
        else:
            ids = self.tokenizer.encode(texts, overflow == "truncate", first=first)
            windows = Windows.of([(sequence, sequence.size)] for sequence in ids)
        return replace(windows, ids=self.checked(windows.ids))

    def checked(self, sequences: Iterable[ArrayLike]) -> list[Int32Array]:
        """Turn id sequences into int32 arrays that the graph takes.

        Raises:
            InputError: an empty or over-long sequence, or an id outside the vocabulary.
        """
        return check_sequences(sequences, self.vocab_size, self.manifest.limits)

    def mask_rows(self, input_ids: Int32Array) -> Int32Array:
        """Which of ``input_ids`` are the mask token.

        Raises:
            BundleError: the tokenizer names no mask token.
        """
        try:
            mask = self.manifest.special_tokens["mask"]
        except KeyError:
            raise BundleError(
                f"{self._folder} knows no mask token: the checkpoint's tokenizer names none. Call "
                "run_packed with mask_positions."
            ) from None
        return np.flatnonzero(input_ids == mask).astype(np.int32)

    def prompt_length(self, prompt: str) -> int:
        """Tokens at the beginning of a text that are the prompt's, as sentence-transformers counts.

        They are those of the prompt alone, without a special token at its end.
        """
        (ids,) = self.encode([prompt], truncate=True)
        return ids.size - int(ids[-1] in self.manifest.special_tokens.values())

    @property
    def excludes_prompt(self) -> bool:
        """Whether a prompt's tokens do not count in pooling."""
        return any(spec.name == "counted_rows" for spec in self.manifest.inputs)

    def compute(
        self,
        input_ids: Int32Array,
        cu_seqlens: Int32Array,
        mask_rows: Int32Array | None = None,
        skipped: Int32Array | None = None,
    ) -> list[Array]:
        """Run the graph once, on packed arrays that have been checked; give its outputs.

        Args:
            input_ids: int32 [tokens].
            cu_seqlens: int32 [sequences + 1].
            mask_rows: for fill-mask, int32 [masks]; None: the rows of the mask token.
            skipped: int32 [sequences], how many of its first tokens do not count in pooling, where
                the graph can leave any out; None: every token counts.

        Raises:
            BackendError: the model has been closed, or it could not be computed.
        """
        inputs = {"input_ids": input_ids, "cu_seqlens": cu_seqlens}
        if self.manifest.task == "fill-mask":
            inputs["mask_positions"] = self.mask_rows(input_ids) if mask_rows is None else mask_rows
        if self.excludes_prompt:
            none = np.zeros(cu_seqlens.size - 1, np.int32)
            inputs |= counted_tokens(
                cu_seqlens, input_ids.size, none if skipped is None else skipped
            )
        for spec in self.manifest.inputs:
            if spec.name in UNSEEN_INPUTS:
                inputs[spec.name] = np.zeros((0, UNSEEN_INPUTS[spec.name]), np.int32)
        return self.run(inputs)

    def run(self, inputs: Mapping[str, Int32Array]) -> list[Array]:
        """Run the graph once, on all of its inputs.

        Raises:
            BackendError: as :meth:`compute`.
        """
        session = self._session
        if session is None:
            raise BackendError("The model has been closed. Load it again.")
        return session.run(inputs)

    def batches(
        self, sequences: Sequence[Int32Array], skipped: Int32Array | None = None
    ) -> Iterator[tuple[PackedBatch, list[Array]]]:
        """Pack checked sequences, run each batch, and give it with the graph's outputs.

        ``skipped``: see :meth:`compute`.
        """
        limit = self.manifest.limits.max_sequences
        for batch in pack(sequences, self.batch_tokens, limit):
            chosen = skipped if skipped is None else skipped[batch.indices]
            yield batch, self.compute(batch.input_ids, batch.cu_seqlens, skipped=chosen)

    def for_each(
        self, sequences: Sequence[Int32Array], result: Callable[..., _Result]
    ) -> list[_Result]:
        """Run checked sequences, packed, and make a result of each, in input order.

        Args:
            sequences: from :meth:`encode` or :meth:`checked`.
            result: called with a sequence's number and its part of each output, which is a view:
                rows of its tokens or masks, or its one row, without the first dimension.
        """
        specs = self.manifest.outputs
        results: dict[int, _Result] = {}
        for batch, outputs in self.batches(sequences):
            parts = [self._split(batch, *pair) for pair in zip(specs, outputs, strict=True)]
            for i, *rows in zip(batch.indices, *parts, strict=True):
                results[i] = result(i, *rows)
        return [results[i] for i in range(len(sequences))]

    def _split(self, batch: PackedBatch, spec: TensorSpec, output: Array) -> Iterable[Array]:
        """Each sequence's part of one of a batch's outputs, in packed order."""
        counted = spec.shape[0]
        if counted == "sequences":
            return output
        boundaries = batch.cu_seqlens[1:-1]
        if counted == "masks":
            return np.split(output, np.searchsorted(self.mask_rows(batch.input_ids), boundaries))
        return np.split(output, boundaries)
