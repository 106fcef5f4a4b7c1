"""What the programs that pad have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # it imports onnxruntime, whose memory is not every program's
    from mbert.runtime.packing import Int32Array

# The mask hides these, so that any id serves.
_PAD = 0


class Padded(ABC):
    """A model on rectangular batches with an attention mask; subclasses compute one batch."""

    def __init__(self, rows: str) -> None:
        """``rows``: see :class:`mbert.bench.programs.Source`."""
        self._rows = rows
        self._sequences: Sequence[Int32Array] = ()
        self._groups: Sequence[Sequence[int]] = ()

    @property
    @abstractmethod
    def versions(self) -> dict[str, str]:
        """See :class:`mbert.bench.programs.Program`."""

    @abstractmethod
    def compute(self, input_ids: NDArray[Any], attention_mask: NDArray[Any]) -> NDArray[Any]:
        """Compute one batch.

        Args:
            input_ids: int64 [batch, longest].
            attention_mask: int64 [batch, longest], 1 for tokens, 0 for padding.

        Returns:
            float32 [batch, longest, values], or [batch, values] where rows are sequences.
        """

    def prepare(self, sequences: Sequence[Int32Array], groups: Sequence[Sequence[int]]) -> None:
        """Keep the sequences and the batches."""
        self._sequences = sequences
        self._groups = groups

    def run(self) -> list[NDArray[Any]]:
        """Pad and compute each batch; of masks [batch, values], else as :meth:`compute`."""
        return [self._run_batch([self._sequences[i] for i in group]) for group in self._groups]

    def outputs(self, result: list[NDArray[Any]]) -> list[NDArray[Any]]:
        """Drop the rows of padding and restore the order."""
        outputs: list[NDArray[Any]] = [np.empty(0, np.float32)] * len(self._sequences)
        for group, batch in zip(self._groups, result, strict=True):
            for i, values in zip(group, batch, strict=True):
                if self._rows == "tokens":
                    outputs[i] = values[: len(self._sequences[i])]
                else:
                    outputs[i] = values[None] if self._rows == "masks" else values
        return outputs

    def _run_batch(self, sequences: Sequence[Int32Array]) -> NDArray[Any]:
        longest = max(len(ids) for ids in sequences)
        input_ids = np.full((len(sequences), longest), _PAD, np.int64)
        attention_mask = np.zeros_like(input_ids)
        for row, ids in enumerate(sequences):
            input_ids[row, : len(ids)] = ids
            attention_mask[row, : len(ids)] = 1
        values = self.compute(input_ids, attention_mask)
        if self._rows == "masks":
            # The workloads mask the middle of each sequence; the other rows are not used.
            return values[np.arange(len(sequences)), [len(ids) // 2 for ids in sequences]]
        return values
