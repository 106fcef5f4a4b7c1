"""Packing: sequences of any length become batches without a padding token."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Int32Array = NDArray[np.int32]


class TokenSequence(NamedTuple):
    """One sequence for the graph.

    Attributes:
        ids: int32 [tokens], special tokens included.
        excluded: number of tokens at the start that pooling leaves out (a prompt).
        unattended: number of tokens at the end that no token attends to (query expansion).
        source: what the task needs to decode this sequence's rows.
    """

    ids: Int32Array
    excluded: int = 0
    unattended: int = 0
    source: Any = None


@dataclass(frozen=True)
class PackedBatch:
    """Sequences laid end to end.

    Attributes:
        indices: index of each sequence in the caller's list, in packed order.
        input_ids: int32 [tokens].
        cu_seqlens: int32 [sequences + 1], cumulative lengths starting at 0.
    """

    indices: list[int]
    input_ids: Int32Array
    cu_seqlens: Int32Array


def pack(
    sequences: Sequence[Int32Array], batch_tokens: int, max_sequences: int
) -> Iterator[PackedBatch]:
    """Sort by length, longest first, and fill batches of at most ``batch_tokens`` tokens.

    A sequence longer than ``batch_tokens`` gets a batch for itself.
    """
    # Longest first: the largest batch comes first, and later ones reuse its memory.
    order = sorted(range(len(sequences)), key=lambda i: -len(sequences[i]))
    chosen: list[int] = []
    tokens = 0
    for i in order:
        length = len(sequences[i])
        if chosen and (tokens + length > batch_tokens or len(chosen) == max_sequences):
            yield _lay_out(sequences, chosen)
            chosen, tokens = [], 0
        chosen.append(i)
        tokens += length
    if chosen:
        yield _lay_out(sequences, chosen)


def _lay_out(sequences: Sequence[Int32Array], indices: list[int]) -> PackedBatch:
    lengths = [len(sequences[i]) for i in indices]
    cu_seqlens = np.zeros(len(indices) + 1, np.int32)
    np.cumsum(lengths, out=cu_seqlens[1:])
    return PackedBatch(indices, np.concatenate([sequences[i] for i in indices]), cu_seqlens)
