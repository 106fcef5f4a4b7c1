"""Similarity functions of sentence-transformers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mbert.errors import InputError

from .inputs import check_floats

FloatArray = NDArray[np.float32]

# Names as in sentence-transformers' config_sentence_transformers.json.
SIMILARITIES = ("cosine", "dot", "euclidean", "manhattan")


def normalized(vectors: FloatArray) -> FloatArray:
    """Scale each row of [n, dim] to length 1; a row of zeros stays."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: FloatArray = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
    return scaled


def similarity(a: ArrayLike, b: ArrayLike, name: str) -> FloatArray:
    """Compare every row of ``a`` with every row of ``b``.

    Args:
        a: [n, dim], or [dim] for a single vector.
        b: [m, dim], or [dim].
        name: one of ``SIMILARITIES``.

    Returns:
        float32 [n, m], larger for more similar vectors; distances are negated.

    Raises:
        InputError: no vectors, or of different widths.
    """
    rows, columns = _comparable(a, b, name)
    if name not in _DISTANCES:
        products: FloatArray = rows @ columns.T
        return products
    # From differences: squares of long vectors would cancel. A row at a time bounds memory.
    scores = np.zeros((len(rows), len(columns)), np.float32)
    for result, row in zip(scores, rows, strict=True):
        result[:] = -_DISTANCES[name](columns - row)
    return scores


def pairwise(a: ArrayLike, b: ArrayLike, name: str) -> FloatArray:
    """Compare each row of ``a`` with the same row of ``b``, as :func:`similarity` does.

    Returns:
        float32 [n].

    Raises:
        InputError: no vectors, of different widths, or different numbers of them.
    """
    rows, others = _comparable(a, b, name)
    if len(rows) != len(others):
        raise InputError(
            f"There are {len(rows)} and {len(others)} vectors; expected equal numbers."
        )
    if name in _DISTANCES:
        return -_DISTANCES[name](rows - others)
    products: FloatArray = np.einsum("nd,nd->n", rows, others)
    return products


def _comparable(a: ArrayLike, b: ArrayLike, name: str) -> tuple[FloatArray, FloatArray]:
    """Return both as rows; for the cosine scaled to length 1."""
    rows, columns = _vectors(a), _vectors(b)
    if rows.shape[1] != columns.shape[1]:
        raise InputError(
            f"The vectors have {rows.shape[1]} and {columns.shape[1]} dimensions; expected equal "
            "ones."
        )
    return (normalized(rows), normalized(columns)) if name == "cosine" else (rows, columns)


def _vectors(values: ArrayLike) -> FloatArray:
    array = check_floats(values, "vectors")
    if array.ndim not in (1, 2):
        raise InputError(f"Vectors have the shape {list(array.shape)}; expected [n, dim] or [dim].")
    return np.atleast_2d(array)


def _euclidean(differences: FloatArray) -> FloatArray:
    lengths: FloatArray = np.linalg.norm(differences, axis=1)
    return lengths


def _manhattan(differences: FloatArray) -> FloatArray:
    sums: FloatArray = np.abs(differences).sum(axis=1)
    return sums


# [n, dim] -> [n]. The other similarities are products.
_DISTANCES: dict[str, Callable[[FloatArray], FloatArray]] = {
    "euclidean": _euclidean,
    "manhattan": _manhattan,
}
