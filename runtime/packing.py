"""Packing: sequences of any length become batches without a padding token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Int32Array = NDArray[np.int32]


@dataclass(frozen=True)
class PackedBatch:
    """Sequences laid end to end.

    Attributes:
        indices: which of the caller's sequences these are, in packed order.
        input_ids: int32 [tokens].
        cu_seqlens: int32 [sequences + 1], cumulative lengths from 0.
    """

    indices: list[int]
    input_ids: Int32Array
    cu_seqlens: Int32Array


def pack(
    sequences: Sequence[Int32Array], batch_tokens: int, max_sequences: int
) -> list[PackedBatch]:
    """Sort by length, longest first, and fill batches of at most ``batch_tokens`` tokens.

    A sequence longer than ``batch_tokens`` gets a batch of its own.
    """
    # Longest first: the largest batch comes first, and later ones reuse its memory.
    order = sorted(range(len(sequences)), key=lambda i: -len(sequences[i]))
    batches: list[PackedBatch] = []
    chosen: list[int] = []
    tokens = 0
    for i in order:
        length = len(sequences[i])
        if chosen and (tokens + length > batch_tokens or len(chosen) == max_sequences):
            batches.append(_lay_out(sequences, chosen))
            chosen, tokens = [], 0
        chosen.append(i)
        tokens += length
    if chosen:
        batches.append(_lay_out(sequences, chosen))
    return batches


def counted_tokens(
    cu_seqlens: Int32Array, tokens: int, skipped: Int32Array
) -> dict[str, Int32Array]:
    """Say which tokens count where the first ones of each sequence do not.

    Args:
        cu_seqlens: int32 [sequences + 1].
        tokens: rows of the packed arrays.
        skipped: int32 [sequences], how many do not count; all of a shorter sequence.

    Returns:
        ``counted_rows`` int32 [tokens], the rows that count and then zeros, and
        ``counted_offsets`` int32 [sequences + 1], their cumulative numbers.
    """
    lengths = np.diff(cu_seqlens)
    place = np.arange(cu_seqlens[-1]) - np.repeat(cu_seqlens[:-1], lengths)
    counted = np.flatnonzero(place >= np.repeat(skipped, lengths))
    rows = np.zeros(tokens, np.int32)
    rows[: counted.size] = counted
    offsets = np.zeros_like(cu_seqlens)
    np.cumsum(np.maximum(lengths - skipped, 0), out=offsets[1:])
    return {"counted_rows": rows, "counted_offsets": offsets}


def _lay_out(sequences: Sequence[Int32Array], indices: list[int]) -> PackedBatch:
    lengths = [len(sequences[i]) for i in indices]
    cu_seqlens = np.zeros(len(indices) + 1, np.int32)
    np.cumsum(lengths, out=cu_seqlens[1:])
    return PackedBatch(indices, np.concatenate([sequences[i] for i in indices]), cu_seqlens)
