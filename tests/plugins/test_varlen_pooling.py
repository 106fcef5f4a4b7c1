"""The CPU kernel of packed pooling against numpy, and bad inputs."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mbert.model.ops import POOLING_MODES
from support.onnx_nodes import pooling_model, reduce, run, session

BATCHES = [((5,), 0), ((1, 2, 0, 70, 130), 9), ((), 0), ((), 4), ((0, 0), 3), ((1000,), 0)]
HIDDEN = 24


def batch(lengths: tuple[int, ...], slack: int) -> dict[str, NDArray[Any]]:
    generator = np.random.default_rng(len(lengths))
    hidden = generator.standard_normal((sum(lengths) + slack, HIDDEN)).astype(np.float32)
    return {"hidden": hidden, "cu_seqlens": np.cumsum((0, *lengths), dtype=np.int32)}


def expected(inputs: dict[str, NDArray[Any]], mode: str) -> NDArray[np.float64]:
    offsets = inputs["cu_seqlens"]
    pooled = np.zeros((len(offsets) - 1, HIDDEN))
    for i, (begin, end) in enumerate(itertools.pairwise(offsets)):
        if end > begin:
            rows = inputs["hidden"][begin:end].astype(np.float64)
            pooled[i] = rows[0] if mode == "cls" else rows.mean(0)
    return pooled


@pytest.mark.parametrize(("lengths", "slack"), BATCHES)
@pytest.mark.parametrize("mode", ["cls", "mean"])
def test_float32(mode: str, lengths: tuple[int, ...], slack: int) -> None:
    inputs = batch(lengths, slack)
    output = run(session(pooling_model(POOLING_MODES[mode])), inputs)
    exact = expected(inputs, mode)
    assert output.shape == exact.shape
    assert np.allclose(output, exact, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("mode", ["cls", "mean"])
def test_reduced_precision_rounds_once(mode: str, dtype: str) -> None:
    inputs = batch((1, 2, 0, 70, 130), 9)
    inputs["hidden"] = reduce(inputs["hidden"], dtype).astype(np.float32)
    output = run(session(pooling_model(POOLING_MODES[mode], dtype)), inputs)
    step = {"float16": 2**-11, "bfloat16": 2**-8}[dtype]
    exact = expected(inputs, mode)
    assert np.all(np.abs(output - exact) <= step * np.abs(exact) + 1e-7)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"hidden": np.zeros(12, np.float32)}, "hidden"),
        ({"cu_seqlens": np.zeros(0, np.int32)}, "cu_seqlens"),
        ({"cu_seqlens": np.array([0, 8, 5], np.int32)}, "cu_seqlens"),
        ({"cu_seqlens": np.array([3, 5], np.int32)}, "cu_seqlens"),
        ({"cu_seqlens": np.array([0, 99], np.int32)}, "cu_seqlens"),
    ],
)
def test_bad_inputs_are_refused(changes: dict[str, Any], found: str) -> None:
    with pytest.raises(Exception, match=found):
        session(pooling_model(1)).run(None, {**batch((5, 3), 0), **changes})


@pytest.mark.parametrize("mode", [-1, 2])
def test_unknown_mode_is_refused(mode: int) -> None:
    with pytest.raises(Exception, match="mode"):
        session(pooling_model(mode))
