"""A bundle, loaded: token ids in, arrays out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mbert.errors import InputError

from .backends import Session
from .bundle import Bundle
from .closing import Closing
from .inputs import check_packed, check_rows
from .manifest import Manifest
from .runner import Array, Runner


class PackedModel(Closing):
    """What every bundle does, whatever its task; safe to use from several threads."""

    def __init__(self, bundle: Bundle, session: Session) -> None:
        """Run ``session``, which is open, on what ``bundle`` says."""
        self._runner = Runner(bundle, session)

    @property
    def info(self) -> Manifest:
        """The manifest: task, shape, limits, labels, verification record."""
        return self._runner.manifest

    def close(self) -> None:
        """Free the model; every later call that has something to compute raises BackendError."""
        self._runner.close()

    def warm_up(self) -> None:
        """Run once at the packed batch size, so that the first real call is as fast as the rest."""
        limits = self.info.limits
        length = min(limits.max_sequence_length, 128)
        count = max(1, min(self._runner.batch_tokens // length, limits.max_sequences))
        ids = np.zeros(length * count, np.int32)
        cu_seqlens = np.arange(count + 1, dtype=np.int32) * length
        self._runner.compute(ids, cu_seqlens, mask_rows=np.arange(count, dtype=np.int32))

    def run(self, sequences: Iterable[ArrayLike]) -> list[Any]:
        """Run id sequences, packed, and return what the graph gives for each, in input order.

        Args:
            sequences: one list or array of token ids each, special tokens included.

        Returns:
            For each sequence an array, float32: feature-extraction [length, hidden];
            sentence-similarity [dim]; fill-mask [masks in the sequence, vocab];
            text-classification [labels]; token-classification [length, labels]; sparse-embedding
            [vocab]; multi-vector [length, dim]. For question-answering, which has two outputs, a
            dict of arrays by name: start_logits [length] and end_logits [length].

        Raises:
            InputError: an empty or over-long sequence, or an id outside the vocabulary.
        """
        # A view would keep the whole batch's output alive.
        return self._runner.for_each(
            self._runner.checked(sequences),
            lambda _, *parts: self._named([part.copy() for part in parts]),
        )

    def run_packed(
        self,
        input_ids: ArrayLike,
        cu_seqlens: ArrayLike,
        mask_positions: ArrayLike | None = None,
    ) -> Any:
        """Run arrays that are packed already, in one call of the graph.

        Args:
            input_ids: integers [tokens]; rows past ``cu_seqlens[-1]`` are slack.
            cu_seqlens: integers [sequences + 1], cumulative lengths from 0.
            mask_positions: fill-mask only: integers [masks], rows whose logits are wanted. None:
                the rows that hold the mask token.

        Returns:
            The graph's output as it is, float32: last_hidden_state [tokens, hidden], embedding
            [sequences, dim], logits [masks, vocab], [sequences, labels] or [tokens, labels],
            weights [sequences, vocab], or token_embeddings [tokens, dim]; for question-answering a
            dict of start_logits [tokens] and end_logits [tokens].

        Raises:
            InputError: arrays that break the contract above.
        """
        runner = self._runner
        ids, offsets = check_packed(input_ids, cu_seqlens, runner.vocab_size, self.info.limits)
        rows = None
        if mask_positions is not None:
            if self.info.task != "fill-mask":
                raise InputError(
                    f"mask_positions belongs to fill-mask; this bundle is {self.info.task}."
                )
            rows = check_rows(mask_positions, ids.size)
        return self._named(runner.compute(ids, offsets, rows))

    def _named(self, outputs: Sequence[Array]) -> Any:
        """The output of the graph; several go by their names."""
        if len(outputs) == 1:
            return outputs[0]
        return {spec.name: array for spec, array in zip(self.info.outputs, outputs, strict=True)}
