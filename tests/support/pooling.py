"""Batches for the pooling kernels, and the expected results."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

POOLING_BATCHES = [((5,), 0), ((1, 2, 0, 70, 130), 9), ((), 0), ((), 4), ((0, 0), 3), ((1000,), 0)]
# The largest relative error of one rounding.
STEPS = {"float16": 2**-11, "bfloat16": 2**-8}


def pooling_inputs(
    lengths: tuple[int, ...], slack: int, columns: int = 24
) -> dict[str, NDArray[Any]]:
    generator = np.random.default_rng(len(lengths))
    hidden = generator.standard_normal((sum(lengths) + slack, columns)).astype(np.float32)
    return {"hidden": hidden, "cu_seqlens": np.cumsum((0, *lengths), dtype=np.int32)}


def pooled(inputs: dict[str, NDArray[Any]], mode: str) -> NDArray[np.float64]:
    offsets = inputs["cu_seqlens"]
    result = np.zeros((len(offsets) - 1, inputs["hidden"].shape[1]))
    for i, (begin, end) in enumerate(itertools.pairwise(offsets)):
        if end > begin:
            result[i] = _POOLED[mode](inputs["hidden"][begin:end].astype(np.float64))
    return result


def _weighted_mean(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.average(rows, axis=0, weights=np.arange(1, len(rows) + 1))


_POOLED: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "cls": lambda rows: rows[0],
    "mean": lambda rows: rows.mean(0),
    "max": lambda rows: rows.max(0),
    "mean_sqrt_len_tokens": lambda rows: rows.sum(0) / np.sqrt(len(rows)),
    "lasttoken": lambda rows: rows[-1],
    "weightedmean": _weighted_mean,
}
POOLINGS = list(_POOLED)


def assert_pooled(
    inputs: dict[str, NDArray[Any]], output: NDArray[Any], mode: str, dtype: str = "float32"
) -> None:
    """Pool in float64; ``inputs["hidden"]`` is float32 that the type holds exactly."""
    exact = pooled(inputs, mode)
    assert output.shape == exact.shape
    if dtype == "float32":
        assert np.allclose(output, exact, rtol=0, atol=1e-6 * max(1, np.abs(exact).max(initial=0)))
    else:
        assert np.all(np.abs(output - exact) <= STEPS[dtype] * np.abs(exact) + 1e-7)
