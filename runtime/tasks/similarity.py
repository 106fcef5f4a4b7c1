"""How alike vectors are: the similarity functions of sentence-transformers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mbert.errors import InputError

from ..inputs import check_floats
from .embedding import normalized

FloatArray = NDArray[np.float32]


def similarity(a: ArrayLike, b: ArrayLike, name: str) -> FloatArray:
    """Compare every row of ``a`` with every row of ``b``.

    Args:
        a: [n, dim], or [dim] for a single vector.
        b: [m, dim], or [dim].
        name: one of the manifest's similarities.

    Returns:
        float32 [n, m], the larger the more alike; distances are negative.

    Raises:
        InputError: not vectors of one width.
    """
    rows, columns = _comparable(a, b, name)
    if name not in _DISTANCES:
        products: FloatArray = rows @ columns.T
        return products
    # From differences: squares of long vectors would cancel. A row at a time bounds memory.
    alike = np.zeros((len(rows), len(columns)), np.float32)
    for result, row in zip(alike, rows, strict=True):
        result[:] = -_DISTANCES[name](columns - row)
    return alike


def pairwise(a: ArrayLike, b: ArrayLike, name: str) -> FloatArray:
    """Compare every row of ``a`` with the row of ``b`` that has its place, as :func:`similarity`.

    Returns:
        float32 [n].

    Raises:
        InputError: not vectors of one width, or not as many.
    """
    rows, others = _comparable(a, b, name)
    if len(rows) != len(others):
        raise InputError(f"There are {len(rows)} and {len(others)} vectors; expected as many.")
    if name in _DISTANCES:
        return -_DISTANCES[name](rows - others)
    products: FloatArray = np.einsum("nd,nd->n", rows, others)
    return products


def _comparable(a: ArrayLike, b: ArrayLike, name: str) -> tuple[FloatArray, FloatArray]:
    """Vectors whose products, or distances, are the similarity called ``name``."""
    rows, columns = _vectors(a), _vectors(b)
    if rows.shape[1] != columns.shape[1]:
        raise InputError(
            f"The vectors have {rows.shape[1]} and {columns.shape[1]} dimensions; expected as many."
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
