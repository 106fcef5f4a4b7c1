"""int8 and binary embeddings, quantised as sentence-transformers does."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mbert.errors import InputError

from .inputs import check_choice, check_floats

DTYPES = ("float32", "int8", "uint8", "binary", "ubinary")
# Divide the range of each dimension into 255 steps.
_RANGED = ("int8", "uint8")
# Fewer vectors say little about a range.
_FEW = 100

_log = logging.getLogger("mbert")

FloatArray = NDArray[np.float32]


def resolve_ranges(
    dtype: str, ranges: ArrayLike | None, calibration: ArrayLike | None
) -> FloatArray | None:
    """Return the ranges of each dimension for ``dtype``.

    Args:
        dtype: one of ``DTYPES``.
        ranges: [2, dim], the least and the largest value of each dimension.
        calibration: [n, dim], embeddings whose values span the ranges.

    Returns:
        float32 [2, dim]; None if neither is given.

    Raises:
        InputError: an unknown ``dtype``; both given; a wrong shape; a dtype without ranges; or a
            range whose end is below its start.
    """
    check_choice("dtype", dtype, DTYPES)
    given = {"ranges": ranges, "calibration": calibration}
    named = [name for name, value in given.items() if value is not None]
    if not named:
        return None
    if len(named) == 2 or dtype not in _RANGED:
        raise InputError(
            f"dtype is {dtype!r} with {' and '.join(named)}; expected at most one of them, "
            f"and only with {' or '.join(_RANGED)}."
        )
    value = given[named[0]]
    assert value is not None
    values = check_floats(value, named[0])
    if values.ndim != 2 or not values.size or (named == ["ranges"] and values.shape[0] != 2):
        raise InputError(
            f"{named[0]} has the shape {list(values.shape)}; expected "
            f"{'[2, dim]' if ranges is not None else '[n, dim]'}."
        )
    if named == ["calibration"]:
        return _span(values)
    falling = np.flatnonzero(values[0] > values[1])
    if falling.size:
        i = int(falling[0])
        raise InputError(
            f"ranges of dimension {i} are from {values[0, i]:g} to {values[1, i]:g}; expected the "
            "least values in the first row, the largest in the second."
        )
    return values


def needs_ranges(dtype: str) -> bool:
    """Return True if ``dtype`` is made with ranges."""
    return dtype in _RANGED


def quantized(vectors: FloatArray, dtype: str, ranges: FloatArray | None) -> NDArray[Any]:
    """Quantise [n, dim] vectors.

    int8 and uint8 [n, dim]: index of the value's step among 255 equal ones (minus 128 for int8);
    values outside of the range take the first or last step. binary and ubinary
    [n, ceil(dim / 8)]: a bit for each dimension, 1 where the value is above 0, the first dimension
    in the highest bit (int8, less 128, and uint8).

    Args:
        vectors: float32.
        dtype: one of ``DTYPES``.
        ranges: float32 [2, dim]; None: those that the vectors span.

    Raises:
        InputError: ranges of another width, or none for a single vector.
    """
    if dtype == "float32":
        return vectors
    if dtype not in _RANGED:
        bits: NDArray[np.uint8] = np.packbits(vectors > 0, axis=-1)
        return bits if dtype == "ubinary" else (bits ^ 0x80).view(np.int8)
    if ranges is None:
        ranges = _own_ranges(vectors, dtype)
    if ranges.shape[1] != vectors.shape[1]:
        raise InputError(
            f"The ranges of {dtype} have {ranges.shape[1]} dimensions, the embeddings have "
            f"{vectors.shape[1]}."
        )
    least, largest = ranges
    steps = (largest - least) / 255
    steps = np.where(steps == 0, np.float32(1), steps)
    places: FloatArray = np.clip(np.floor((vectors - least) / steps), 0, 255)
    return places.astype(np.uint8) if dtype == "uint8" else (places - 128).astype(np.int8)


def _own_ranges(vectors: FloatArray, dtype: str) -> FloatArray:
    if len(vectors) == 1:
        raise InputError(
            f"One embedding has no range to divide into the steps of {dtype}. Pass ranges= or "
            "calibration=."
        )
    if len(vectors) < _FEW:
        _log.warning(
            "The ranges of %s are those of %d embeddings: pass ranges= or calibration=, so that "
            "vectors of different calls can be compared.",
            dtype,
            len(vectors),
        )
    return _span(vectors)


def _span(vectors: FloatArray) -> FloatArray:
    if not len(vectors):
        return np.zeros((2, vectors.shape[1]), np.float32)
    return np.stack((vectors.min(axis=0), vectors.max(axis=0)))
