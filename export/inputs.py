"""Packed batches with all that a graph takes: for tracing it, and for verifying it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

Int32Array = NDArray[np.int32]

# The symbol of each input's first dimension.
SYMBOLS = {
    "input_ids": "tokens",
    "cu_seqlens": "sequences + 1",
    "mask_positions": "masks",
    "expansions": "expansions",
    "seen": "seen",
}

_MASKS = 64
# Behind each sequence; one of a short sequence sees nothing in a window that the last one is past.
_EXPANSIONS = 3


def make_batch(
    model: nn.Module, lengths: Sequence[int], vocab_size: int, generator: np.random.Generator
) -> dict[str, Int32Array]:
    """Make a batch of random ids for ``model``, whose ``extra_inputs`` are filled as well."""
    extra: tuple[str, ...] = getattr(model, "extra_inputs", ())
    cu_seqlens = np.cumsum((0, *lengths), dtype=np.int32)
    made: dict[str, Int32Array] = {}
    for name in extra:
        made[name] = _MAKERS[name](cu_seqlens, generator)
    tokens = int(cu_seqlens[-1]) + len(made.get("expansions", ()))
    ids = generator.integers(0, vocab_size, tokens, dtype=np.int32)
    return {"input_ids": ids, "cu_seqlens": cu_seqlens, **made}


def _masks(cu_seqlens: Int32Array, generator: np.random.Generator) -> Int32Array:
    tokens = int(cu_seqlens[-1])
    rows = generator.choice(tokens, size=min(tokens, _MASKS), replace=False)
    return np.sort(rows).astype(np.int32)


def _expansions(cu_seqlens: Int32Array, generator: np.random.Generator) -> Int32Array:
    lengths = np.diff(cu_seqlens)
    return np.array(
        [(i, n + more) for i, n in enumerate(lengths) for more in range(_EXPANSIONS)], np.int32
    )


def _seen(cu_seqlens: Int32Array, generator: np.random.Generator) -> Int32Array:
    lengths = np.diff(cu_seqlens)
    sequence = np.repeat(np.arange(lengths.size), lengths)
    row = np.arange(sequence.size)
    return np.stack((row, sequence, row - cu_seqlens[sequence]), axis=1).astype(np.int32)


_MAKERS: Mapping[str, Callable[[Int32Array, np.random.Generator], Int32Array]] = {
    "mask_positions": _masks,
    "expansions": _expansions,
    "seen": _seen,
}
