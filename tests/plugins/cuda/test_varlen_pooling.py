"""The CUDA pooling kernel on the emulated GPU."""

from __future__ import annotations

import numpy as np
import pytest

from mbert.plugins.operators import POOLING_MODES
from support.emulated import EmulationError, run_pooling
from support.onnx_nodes import reduce
from support.pooling import POOLING_BATCHES, POOLINGS, assert_pooled, pooling_inputs

DTYPES = ("float32", "float16", "bfloat16")


@pytest.mark.parametrize(("lengths", "slack"), POOLING_BATCHES)
@pytest.mark.parametrize(("dtype", "columns"), zip(DTYPES, (1, 24, 75), strict=True))
@pytest.mark.parametrize("mode", POOLINGS)
def test_shared_batches(
    mode: str, dtype: str, columns: int, lengths: tuple[int, ...], slack: int
) -> None:
    inputs = pooling_inputs(lengths, slack, columns)
    inputs["hidden"] = reduce(inputs["hidden"], dtype).astype(np.float32)
    output = run_pooling(inputs, POOLING_MODES[mode], dtype, seed=columns)
    assert_pooled(inputs, output, mode, dtype)


@pytest.mark.parametrize("mode", POOLINGS)
def test_bits_do_not_depend_on_the_batch_and_nan_stays(mode: str) -> None:
    inputs = pooling_inputs((3, 130, 70), 2)
    alone = {"hidden": inputs["hidden"][3:133], "cu_seqlens": np.array([0, 130], np.int32)}
    expected = run_pooling(alone, POOLING_MODES[mode], "float32")
    inputs["hidden"][:3] = np.nan
    inputs["hidden"][133:] = np.inf
    output = run_pooling(inputs, POOLING_MODES[mode], "float32", seed=1)
    assert np.array_equal(output[1].view(np.uint32), expected[0].view(np.uint32))


@pytest.mark.parametrize("offsets", [[0, 70, 30, 100], [20, -50, 2**31 - 1], [0, 101], [-1, 5]])
def test_hostile_offsets_touch_nothing_out_of_bounds(offsets: list[int]) -> None:
    inputs = pooling_inputs((100,), 0)
    inputs["cu_seqlens"] = np.array(offsets, np.int32)
    output = run_pooling(inputs, POOLING_MODES["mean"], "float32")
    assert np.abs(output).max() <= np.abs(inputs["hidden"]).max()


def test_unknown_mode_is_refused() -> None:
    with pytest.raises(EmulationError, match="mode is 6"):
        run_pooling(pooling_inputs((5,), 0), 6, "float32")
