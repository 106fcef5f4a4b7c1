"""The model that users hold: a bundle, loaded, with a method for each task."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mbert.errors import BackendError, BundleError, InputError

from .backends import Session, open_session
from .bundle import Bundle, open_bundle
from .inputs import check_packed, check_rows, check_sequences
from .manifest import Manifest
from .packing import Int32Array, PackedBatch, pack
from .tasks import classification, embedding, fill_mask, token_classification
from .tokenization import Text, Tokenizer

if TYPE_CHECKING:
    from .backends.onnxruntime import Operators

Array = NDArray[Any]
_SomeText = TypeVar("_SomeText", str, Text)

# Tokens of one packed batch on a CPU. Enough rows to stream the weights rarely; with more, what
# passes from operator to operator leaves the cache (base size, two cores, 10,000 tokens: 4,096 is
# 5% slower).
BATCH_TOKENS = 2048


def load(
    bundle: str | os.PathLike[str],
    *,
    threads: int | None = None,
    device: str | None = None,
    operators: Operators = "plugin",
) -> Model:
    """Load a bundle.

    Args:
        bundle: a folder written by ``mbert-export``.
        threads: threads of one call of the graph; None: one for each core that this process may
            use, a container's quota included. (Tokenizing has threads of its own: see the
            ``tokenizers`` library's ``RAYON_NUM_THREADS``.)
        device: None, or where to run: "cpu" for a bundle that was exported for the CPU; "cuda" or
            "cuda:1" (the second one) for a bundle for a GPU.
        operators: "plugin" runs mbert's kernels; "functions" runs the standard operators that the
            bundle carries for each of them: slower, in need of nothing but ONNX Runtime.

    The target of the bundle decides what it runs on; one for a GPU never runs on a CPU instead. The
    first load on a machine can take long where an engine is built then (the log says so).

    Raises:
        BundleError: not a bundle, of a newer format, or changed since it was exported.
        BackendError: the backend or the GPU is missing or refuses the bundle.
    """
    opened = open_bundle(bundle)
    if threads is not None and threads < 1:
        raise InputError(f"threads is {threads}; expected at least 1, or None.")
    if operators not in ("plugin", "functions"):
        raise InputError(f"operators is {operators!r}; expected 'plugin' or 'functions'.")
    session = open_session(opened, threads=threads, device=device, operators=operators)
    return Model(opened, session)


class Model:
    """A loaded bundle; safe to use from several threads, and a context manager."""

    def __init__(self, bundle: Bundle, session: Session) -> None:
        """Use :func:`load`."""
        self._manifest = bundle.manifest
        self._folder = bundle.folder
        self._open_session: Session | None = session
        self._tokenizer: Tokenizer | None = None
        if bundle.tokenizer is not None:
            self._tokenizer = Tokenizer(bundle.tokenizer, self._manifest.limits)

    @property
    def info(self) -> Manifest:
        """The manifest: task, shape, limits, labels, verification record."""
        return self._manifest

    def close(self) -> None:
        """Free the model; every later call that has something to compute raises BackendError."""
        session, self._open_session = self._open_session, None
        if session is not None:
            session.close()

    def __enter__(self) -> Model:
        """Return the model itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def warm_up(self) -> None:
        """Run once at the packed batch size, so that the first real call is as fast as the rest."""
        limits = self._manifest.limits
        length = min(limits.max_sequence_length, 128)
        count = max(1, min(self._batch_tokens // length, limits.max_sequences))
        ids = np.zeros(length * count, np.int32)
        cu_seqlens = np.arange(count + 1, dtype=np.int32) * length
        rows = np.arange(count, dtype=np.int32) if self._manifest.task == "fill-mask" else None
        self._compute(ids, cu_seqlens, rows)

    def run(self, sequences: Iterable[ArrayLike]) -> list[Array]:
        """Run id sequences, packed, and return what the graph gives for each, in input order.

        Args:
            sequences: one list or array of token ids each, special tokens included.

        Returns:
            For each sequence: feature-extraction float32 [length, hidden]; fill-mask float32
            [masks in the sequence, vocab]; text-classification float32 [labels];
            token-classification float32 [length, labels].

        Raises:
            InputError: an empty or over-long sequence, or an id outside the vocabulary.
        """
        checked = self._checked(sequences)
        results: list[Array] = [np.empty(0, np.float32)] * len(checked)
        for batch, output in self._outputs(checked):
            for i, rows in zip(batch.indices, self._rows(batch, output), strict=True):
                results[i] = rows.copy()  # a view would keep the whole batch's output alive
        return results

    def run_packed(
        self,
        input_ids: ArrayLike,
        cu_seqlens: ArrayLike,
        mask_positions: ArrayLike | None = None,
    ) -> Array:
        """Run arrays that are packed already, in one call of the graph.

        Args:
            input_ids: integers [tokens]; rows past ``cu_seqlens[-1]`` are slack.
            cu_seqlens: integers [sequences + 1], cumulative lengths from 0.
            mask_positions: fill-mask only: integers [masks], rows whose logits are wanted. None:
                the rows that hold the mask token.

        Returns:
            The graph's output as it is: last_hidden_state [tokens, hidden], logits [masks, vocab],
            logits [sequences, labels] or logits [tokens, labels].

        Raises:
            InputError: arrays that break the contract above.
        """
        ids, offsets = check_packed(input_ids, cu_seqlens, self._vocab_size, self._manifest.limits)
        rows = None
        if mask_positions is not None:
            if self._manifest.task != "fill-mask":
                raise InputError(
                    f"mask_positions belongs to fill-mask; this bundle is {self._manifest.task}."
                )
            rows = check_rows(mask_positions, ids.size)
        return self._compute(ids, offsets, rows)

    def embed(
        self,
        texts: str | Sequence[Text],
        *,
        pooling: str | None = None,
        normalize: bool = True,
        truncate: bool = False,
    ) -> NDArray[np.float32]:
        """Embed texts.

        Args:
            texts: one text (the result is a vector) or several (one row each).
            pooling: "cls" or "mean"; None: as the checkpoint says, mean where it says nothing.
            normalize: scale each vector to length 1, so that a product is the cosine.
            truncate: cut a text that is too long instead of raising.

        Returns:
            float32 [hidden] or [n, hidden].

        Raises:
            InputError: not a feature-extraction bundle; a text too long; an unknown pooling.
        """
        self._need("feature-extraction", "embed")
        chosen = embedding.check_pooling(pooling, self._manifest.pooling)
        sequences = self._encode(_listed(texts), truncate)
        vectors = np.zeros((len(sequences), self._manifest.model["hidden_size"]), np.float32)
        for batch, hidden in self._outputs(sequences):
            vectors[batch.indices] = embedding.pool(hidden, batch.cu_seqlens, chosen)
        if normalize:
            vectors = embedding.normalize(vectors)
        return vectors[0] if isinstance(texts, str) else vectors

    @overload
    def fill_mask(  # type: ignore[overload-overlap]  # a str is a sequence of str, too
        self, texts: str, *, top_k: int = ..., truncate: bool = ...
    ) -> list[list[fill_mask.TokenPrediction]]: ...
    @overload
    def fill_mask(
        self, texts: Sequence[Text], *, top_k: int = ..., truncate: bool = ...
    ) -> list[list[list[fill_mask.TokenPrediction]]]: ...
    def fill_mask(
        self, texts: str | Sequence[Text], *, top_k: int = 5, truncate: bool = False
    ) -> Any:
        """Predict the masked tokens.

        Args:
            texts: one text or several, each with at least one mask token ("[MASK]").
            top_k: how many candidates for each mask.
            truncate: cut a text that is too long instead of raising.

        Returns:
            For each text a list with one entry for each mask: its candidates, best first. For a
            single string, that string's list.

        Raises:
            InputError: not a fill-mask bundle; a text without a mask, or too long.
        """
        self._need("fill-mask", "fill_mask")
        if top_k < 1:
            raise InputError(f"top_k is {top_k}; expected at least 1.")
        sequences = self._encode(_listed(texts), truncate)
        for i, ids in enumerate(sequences):
            if not fill_mask.mask_rows(ids, self._mask_token_id).size:
                raise InputError(
                    f"Text {i} has no mask token. Write [MASK], or what the tokenizer uses for it, "
                    "where a token is to be predicted."
                )
        results: list[Any] = [None] * len(sequences)
        for batch, logits in self._outputs(sequences):
            for i, rows in zip(batch.indices, self._rows(batch, logits), strict=True):
                results[i] = fill_mask.predictions(rows, top_k, self._need_tokenizer())
        return results[0] if isinstance(texts, str) else results

    @overload
    def classify(  # type: ignore[overload-overlap]  # a str is a sequence of str, too
        self, texts: str, *, top_k: int | None = ..., truncate: bool = ...
    ) -> list[classification.LabelScore]: ...
    @overload
    def classify(
        self, texts: Sequence[Text], *, top_k: int | None = ..., truncate: bool = ...
    ) -> list[list[classification.LabelScore]]: ...
    def classify(
        self, texts: str | Sequence[Text], *, top_k: int | None = None, truncate: bool = False
    ) -> Any:
        """Classify texts or pairs of texts.

        Args:
            texts: one text, or several texts or pairs (tuples of two strings).
            top_k: how many labels of each; None: all.
            truncate: cut a text that is too long instead of raising.

        Returns:
            For each text its labels with scores, best first. For a single string, that string's.

        Raises:
            InputError: not a text-classification bundle; a text too long.
        """
        self._need("text-classification", "classify")
        if top_k is not None and top_k < 1:
            raise InputError(f"top_k is {top_k}; expected at least 1, or None.")
        if isinstance(texts, tuple) and len(texts) == 2 and all(isinstance(t, str) for t in texts):
            raise InputError(
                "A tuple of two strings could be a pair or two texts. Pass a list: [(a, b)] for a "
                "pair, [a, b] for two texts."
            )
        labels = self._manifest.labels or ()
        sequences = self._encode(_listed(texts), truncate)
        results: list[Any] = [None] * len(sequences)
        for batch, logits in self._outputs(sequences):
            for row, i in zip(logits, batch.indices, strict=True):
                scores = classification.label_scores(row, labels, self._manifest.problem_type)
                results[i] = scores[:top_k]
        return results[0] if isinstance(texts, str) else results

    @overload
    def tag(  # type: ignore[overload-overlap]  # a str is a sequence of str, too
        self, texts: str, *, aggregation: str = ..., truncate: bool = ...
    ) -> list[token_classification.Entity]: ...
    @overload
    def tag(
        self, texts: Sequence[str], *, aggregation: str = ..., truncate: bool = ...
    ) -> list[list[token_classification.Entity]]: ...
    def tag(
        self, texts: str | Sequence[str], *, aggregation: str = "simple", truncate: bool = False
    ) -> Any:
        """Find the entities of texts.

        Args:
            texts: one text or several; no pairs.
            aggregation: "none": every token that is not labelled "O"; "simple": neighbours of one
                kind joined; "first", "average", "max": the same of whole words, whose label is by
                the first token, the average of the tokens, or the token that is surest. All as the
                transformers pipeline has it.
            truncate: cut a text that is too long instead of raising.

        Returns:
            For each text its entities, in the order of the text. For a single string, that
            string's list.

        Raises:
            InputError: not a token-classification bundle; an unknown aggregation; a pair; a text
                too long.
        """
        self._need("token-classification", "tag")
        token_classification.check_aggregation(aggregation)
        tokenized = self._need_tokenizer().tokenize(
            _listed(texts), truncate, unknown=self._manifest.special_tokens.get("unk", -1)
        )
        sequences = self._checked([text.ids for text in tokenized])
        labels = self._manifest.labels or ()
        results: list[Any] = [None] * len(sequences)
        for batch, logits in self._outputs(sequences):
            for i, rows in zip(batch.indices, self._rows(batch, logits), strict=True):
                results[i] = token_classification.entities(rows, tokenized[i], labels, aggregation)
        return results[0] if isinstance(texts, str) else results

    @property
    def _vocab_size(self) -> int:
        return int(self._manifest.model["vocab_size"])

    @property
    def _batch_tokens(self) -> int:
        """Tokens of one packed batch; a GPU is filled."""
        most = self._manifest.limits.max_tokens
        return min(BATCH_TOKENS, most) if self._manifest.target == "cpu" else most

    @property
    def _mask_token_id(self) -> int:
        try:
            return self._manifest.special_tokens["mask"]
        except KeyError:
            raise BundleError(
                f"{self._folder} knows no mask token: the checkpoint's tokenizer names none. Call "
                "run_packed with mask_positions."
            ) from None

    def _need(self, task: str, method: str) -> None:
        if self._manifest.task != task:
            raise InputError(
                f"{method} needs a {task} bundle; {self._folder} is {self._manifest.task}. Export "
                f"the checkpoint with --task {task}."
            )

    def _need_tokenizer(self) -> Tokenizer:
        if self._tokenizer is None:
            raise BundleError(
                f"{self._folder} has no tokenizer.json, since the checkpoint had none. Pass token "
                "ids to run(), or export a checkpoint that has one."
            )
        return self._tokenizer

    def _encode(self, texts: Sequence[Text], truncate: bool) -> list[Int32Array]:
        return self._checked(self._need_tokenizer().encode(texts, truncate))

    def _checked(self, sequences: Iterable[ArrayLike]) -> list[Int32Array]:
        return check_sequences(sequences, self._vocab_size, self._manifest.limits)

    def _outputs(self, sequences: Sequence[Int32Array]) -> Iterator[tuple[PackedBatch, Array]]:
        """Pack checked sequences and run each batch."""
        limit = self._manifest.limits.max_sequences
        for batch in pack(sequences, self._batch_tokens, limit):
            yield batch, self._compute(batch.input_ids, batch.cu_seqlens, None)

    def _compute(
        self, input_ids: Int32Array, cu_seqlens: Int32Array, rows: Int32Array | None
    ) -> Array:
        session = self._open_session
        if session is None:
            raise BackendError("The model has been closed. Load it again.")
        inputs = {"input_ids": input_ids, "cu_seqlens": cu_seqlens}
        if self._manifest.task == "fill-mask":
            if rows is None:
                rows = fill_mask.mask_rows(input_ids, self._mask_token_id)
            inputs["mask_positions"] = rows
        return session.run(inputs)[0]

    def _rows(self, batch: PackedBatch, output: Array) -> Iterable[Array]:
        """Each sequence's part of a batch's output, in packed order."""
        counted = self._manifest.outputs[0].shape[0]
        if counted == "sequences":
            return output
        boundaries = batch.cu_seqlens[1:-1]
        if counted == "masks":
            masks = fill_mask.mask_rows(batch.input_ids, self._mask_token_id)
            return np.split(output, np.searchsorted(masks, boundaries))
        return np.split(output, boundaries)


def _listed(texts: str | Sequence[_SomeText]) -> Sequence[_SomeText]:
    return [texts] if isinstance(texts, str) else texts
