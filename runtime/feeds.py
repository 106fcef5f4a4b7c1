"""The arrays that a graph takes, made from a packed batch (docs/bundle.md, "The graph")."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from .packing import Int32Array, PackedBatch, TokenSequence

Feeds = dict[str, Int32Array]

# Inputs that only some graphs have.
MASK_POSITIONS = "mask_positions"
COUNTED_INPUTS = ("counted_rows", "counted_offsets")
# Columns of the inputs that place tokens which no token attends to.
UNATTENDED_INPUTS = {"expansions": 2, "seen": 3}


def counted_tokens(cu_seqlens: Int32Array, tokens: int, excluded: Int32Array) -> Feeds:
    """List the tokens that pooling counts when it leaves out the first ones of each sequence.

    Args:
        cu_seqlens: int32 [sequences + 1].
        tokens: rows of the packed arrays.
        excluded: int32 [sequences], number of tokens to leave out; all of a shorter sequence.

    Returns:
        ``counted_rows`` int32 [tokens], the rows that count, then zeros, and ``counted_offsets``
        int32 [sequences + 1], their cumulative numbers.
    """
    lengths = np.diff(cu_seqlens)
    position = np.arange(cu_seqlens[-1]) - np.repeat(cu_seqlens[:-1], lengths)
    counted = np.flatnonzero(position >= np.repeat(excluded, lengths))
    rows = np.zeros(tokens, np.int32)
    rows[: counted.size] = counted
    offsets = np.zeros_like(cu_seqlens)
    np.cumsum(np.maximum(lengths - excluded, 0), out=offsets[1:])
    return {"counted_rows": rows, "counted_offsets": offsets}


def unattended_tokens(
    batch: PackedBatch, unattended: Int32Array
) -> tuple[NDArray[np.int64], Feeds]:
    """Move the tokens that no token attends to behind all sequences.

    Args:
        batch: sequences that end with these tokens.
        unattended: int32 [sequences], number of them in each.

    Returns:
        The batch's rows in their new order, and the graph's inputs: ``input_ids``, ``cu_seqlens``
        of the sequences without these tokens, ``expansions``, ``seen``.
    """
    lengths = np.diff(batch.cu_seqlens)
    sequence = np.repeat(np.arange(lengths.size), lengths)
    position = np.arange(sequence.size) - batch.cu_seqlens[sequence]
    attended = position < (lengths - unattended)[sequence]
    order = np.argsort(~attended, kind="stable")
    count = np.count_nonzero(attended)
    places = np.stack((np.arange(order.size), sequence[order], position[order]), axis=1)
    places = places.astype(np.int32)
    cu_seqlens = np.zeros(lengths.size + 1, np.int32)
    np.cumsum(lengths - unattended, out=cu_seqlens[1:])
    return order, {
        "input_ids": batch.input_ids[order],
        "cu_seqlens": cu_seqlens,
        "expansions": np.ascontiguousarray(places[count:, 1:]),
        # Sequences without expansion tokens need no entry.
        "seen": places[:count][unattended[places[:count, 1]] > 0],
    }


def feeds_of(
    batch: PackedBatch, sequences: Sequence[TokenSequence], inputs: Collection[str], mask: int
) -> tuple[Feeds, NDArray[np.int64] | None]:
    """Make the inputs of one call of the graph.

    Args:
        batch: the packed sequences.
        sequences: the sequences that ``batch.indices`` point to.
        inputs: names of the graph's inputs.
        mask: id of the mask token, whose rows ``mask_positions`` lists; -1 without one.

    Returns:
        The inputs, and the order in which the batch's rows are fed (None: as packed).
    """
    if "expansions" in inputs:
        unattended = np.array([sequences[i].unattended for i in batch.indices], np.int32)
        if unattended.any():
            order, feeds = unattended_tokens(batch, unattended)
            return feeds, order
    feeds = {"input_ids": batch.input_ids, "cu_seqlens": batch.cu_seqlens}
    excluded = None
    if "counted_rows" in inputs:
        excluded = np.array([sequences[i].excluded for i in batch.indices], np.int32)
    return complete(feeds, inputs, mask, excluded), None


def complete(
    feeds: Feeds, inputs: Collection[str], mask: int, excluded: Int32Array | None = None
) -> Feeds:
    """Add the inputs that ``feeds`` lacks: each mask counts, every token counts in pooling."""
    input_ids, cu_seqlens = feeds["input_ids"], feeds["cu_seqlens"]
    if MASK_POSITIONS in inputs and MASK_POSITIONS not in feeds:
        feeds[MASK_POSITIONS] = np.flatnonzero(input_ids == mask).astype(np.int32)
    if "counted_rows" in inputs and "counted_rows" not in feeds:
        if excluded is None:
            excluded = np.zeros(cu_seqlens.size - 1, np.int32)
        feeds |= counted_tokens(cu_seqlens, input_ids.size, excluded)
    for name, columns in UNATTENDED_INPUTS.items():
        if name in inputs and name not in feeds:
            feeds[name] = np.zeros((0, columns), np.int32)
    return feeds
