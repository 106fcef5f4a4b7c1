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
    rows, columns = _vectors(a), _vectors(b)
    if rows.shape[1] != columns.shape[1]:
        raise InputError(
            f"The vectors have {rows.shape[1]} and {columns.shape[1]} dimensions; expected as many."
        )
    return _SIMILARITIES[name](rows, columns)


def _vectors(values: ArrayLike) -> FloatArray:
    array = check_floats(values, "vectors")
    if array.ndim not in (1, 2):
        raise InputError(f"Vectors have the shape {list(array.shape)}; expected [n, dim] or [dim].")
    return np.atleast_2d(array)


def _cosine(a: FloatArray, b: FloatArray) -> FloatArray:
    return _dot(normalized(a), normalized(b))


def _dot(a: FloatArray, b: FloatArray) -> FloatArray:
    products: FloatArray = a @ b.T
    return products


def _euclidean(a: FloatArray, b: FloatArray) -> FloatArray:
    # From differences: squares of long vectors would cancel. A row at a time bounds memory.
    return _by_row(a, b, lambda differences: np.linalg.norm(differences, axis=1))


def _manhattan(a: FloatArray, b: FloatArray) -> FloatArray:
    return _by_row(a, b, lambda differences: np.abs(differences).sum(axis=1))


def _by_row(
    a: FloatArray, b: FloatArray, distances: Callable[[FloatArray], FloatArray]
) -> FloatArray:
    alike = np.zeros((len(a), len(b)), np.float32)
    for result, row in zip(alike, a, strict=True):
        result[:] = -distances(b - row)
    return alike


_SIMILARITIES: dict[str, Callable[[FloatArray, FloatArray], FloatArray]] = {
    "cosine": _cosine,
    "dot": _dot,
    "euclidean": _euclidean,
    "manhattan": _manhattan,
}
