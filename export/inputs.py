"""Make packed batches with all inputs of a graph, to trace and to verify it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import nn

from mbert.runtime.feeds import counted_tokens

Int32Array = NDArray[np.int32]

# The first dimension of each input that a graph may take.
SYMBOLS = {
    "input_ids": "tokens",
    "cu_seqlens": "sequences + 1",
    "mask_positions": "masks",
    "expansions": "expansions",
    "seen": "seen",
    "counted_rows": "tokens",
    "counted_offsets": "sequences + 1",
}

_MASKS = 64
# Offsets behind the end of each sequence; at the last one a window contains no token.
_EXPANSIONS = (0, 1, 100)


def make_batch(
    model: nn.Module, lengths: Sequence[int], vocab_size: int, generator: np.random.Generator
) -> dict[str, Int32Array]:
    """Make a batch of random ids for ``model``, with its extra inputs."""
    cu_seqlens = np.cumsum((0, *lengths), dtype=np.int32)
    extra = {name: _MAKERS[name](cu_seqlens, generator) for name in extra_inputs(model)}
    tokens = int(cu_seqlens[-1]) + len(extra.get("expansions", ()))
    ids = generator.integers(0, vocab_size, tokens, dtype=np.int32)
    return {"input_ids": ids, "cu_seqlens": cu_seqlens, **extra}


def extra_inputs(model: nn.Module) -> tuple[str, ...]:
    """Return the inputs beside ``input_ids`` and ``cu_seqlens``, in order."""
    return tuple(inspect.signature(model.forward).parameters)[2:]


def _masks(cu_seqlens: Int32Array, generator: np.random.Generator) -> Int32Array:
    tokens = int(cu_seqlens[-1])
    rows = generator.choice(tokens, size=min((tokens + 1) // 2, _MASKS), replace=False)
    return np.sort(rows).astype(np.int32)


def _expansions(cu_seqlens: Int32Array, generator: np.random.Generator) -> Int32Array:
    lengths = np.diff(cu_seqlens)
    places = [(i, n + behind) for i, n in enumerate(lengths) for behind in _EXPANSIONS]
    return np.array(places, np.int32)


def _seen(cu_seqlens: Int32Array, generator: np.random.Generator) -> Int32Array:
    lengths = np.diff(cu_seqlens)
    sequence = np.repeat(np.arange(lengths.size), lengths)
    row = np.arange(sequence.size)
    return np.stack((row, sequence, row - cu_seqlens[sequence]), axis=1).astype(np.int32)


def _counted(name: str) -> Callable[[Int32Array, np.random.Generator], Int32Array]:
    """Make an input that counts all but a prompt of a third of every sequence."""
    return lambda cu_seqlens, generator: counted_tokens(
        cu_seqlens, int(cu_seqlens[-1]), np.diff(cu_seqlens) // 3
    )[name]


_MAKERS: Mapping[str, Callable[[Int32Array, np.random.Generator], Int32Array]] = {
    "mask_positions": _masks,
    "expansions": _expansions,
    "seen": _seen,
    "counted_rows": _counted("counted_rows"),
    "counted_offsets": _counted("counted_offsets"),
}
