"""Embeddings: one vector for each sequence, pooled from the packed hidden states."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mbert.errors import InputError

from ..packing import Int32Array
from ..runner import Runner
from ..tokenization import Text

FloatArray = NDArray[np.float32]

POOLINGS = ("cls", "mean")


def embed(
    runner: Runner, texts: Sequence[Text], *, pooling: str | None, normalize: bool, truncate: bool
) -> FloatArray:
    """Compute :meth:`mbert.Model.embed` for several texts."""
    chosen = check_pooling(pooling, runner.manifest.pooling)
    sequences = runner.encode(texts, truncate)
    vectors = np.zeros((len(sequences), runner.manifest.model["hidden_size"]), np.float32)
    for batch, hidden in runner.batches(sequences):
        vectors[batch.indices] = pool(hidden, batch.cu_seqlens, chosen)
    return normalized(vectors) if normalize else vectors


def check_pooling(asked: str | None, default: str | None) -> str:
    """Settle on a pooling.

    Raises:
        InputError: an unknown name, or neither an asked nor a default one.
    """
    pooling = asked or default
    if pooling is None:
        raise InputError(
            "The checkpoint pools in a way that this bundle does not carry (see its modules.json). "
            f"Pass pooling= one of {', '.join(POOLINGS)} if that is what you want."
        )
    if pooling not in POOLINGS:
        raise InputError(f"pooling is {pooling!r}; expected one of {', '.join(POOLINGS)}.")
    return pooling


def pool(hidden: FloatArray, cu_seqlens: Int32Array, pooling: str) -> FloatArray:
    """[tokens, hidden] -> [sequences, hidden]; no sequence may be empty."""
    if pooling == "cls":
        return hidden[cu_seqlens[:-1]]
    sums = np.add.reduceat(hidden, cu_seqlens[:-1], axis=0, dtype=np.float64)
    return (sums / np.diff(cu_seqlens)[:, None]).astype(np.float32)


def normalized(vectors: FloatArray) -> FloatArray:
    """Scale each row to length 1; a row of zeros stays."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: FloatArray = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
    return scaled
