"""The CPU kernel of packed pooling against numpy, and bad inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mbert.plugins.operators import POOLING_MODES
from support.onnx_nodes import pooling_model, reduce, run, session
from support.pooling import POOLING_BATCHES, POOLINGS, assert_pooled, pooling_inputs


@pytest.mark.parametrize(("lengths", "slack"), POOLING_BATCHES)
@pytest.mark.parametrize("mode", POOLINGS)
def test_float32(mode: str, lengths: tuple[int, ...], slack: int) -> None:
    inputs = pooling_inputs(lengths, slack)
    assert_pooled(inputs, run(session(pooling_model(POOLING_MODES[mode])), inputs), mode)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("mode", POOLINGS)
def test_reduced_precision_rounds_once(mode: str, dtype: str) -> None:
    inputs = pooling_inputs((1, 2, 0, 70, 130), 9)
    inputs["hidden"] = reduce(inputs["hidden"], dtype).astype(np.float32)
    output = run(session(pooling_model(POOLING_MODES[mode], dtype)), inputs)
    assert_pooled(inputs, output, mode, dtype)


@pytest.mark.parametrize("mode", POOLINGS)
def test_what_is_not_finite_stays_in_its_sequence(mode: str) -> None:
    inputs = pooling_inputs((3, 4, 2), 1)
    loaded = session(pooling_model(POOLING_MODES[mode]))
    expected = run(loaded, inputs)[1]
    inputs["hidden"][[0, 2, 7, 8]] = np.nan
    found = run(loaded, inputs)
    assert np.isnan(found[[0, 2]]).all()
    assert np.array_equal(found[1], expected)


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
        session(pooling_model(1)).run(None, {**pooling_inputs((5, 3), 0), **changes})


@pytest.mark.parametrize("mode", [-1, 6])
def test_unknown_mode_is_refused(mode: int) -> None:
    with pytest.raises(Exception, match="mode"):
        session(pooling_model(mode))
