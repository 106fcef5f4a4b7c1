"""The CUDA attention kernel on the emulated GPU: the shared cases, and invalid offsets."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from support.attention import Judgement, judge
from support.cases import CASES, HEAD_DIMS, Case
from support.emulated import VARIANTS, EmulationError, Variant, run_attention
from support.onnx_nodes import reduce
from support.thinning import thinned

ROTATIONS = ("fused", "workspace")
SHORT_CASES = [
    case for case in CASES if case.head_dim in HEAD_DIMS and max(case.lengths, default=0) < 1000
]
QUERIES = 64  # of a block


def rounded(inputs: dict[str, NDArray[Any]], dtype: str) -> dict[str, NDArray[Any]]:
    """Return the inputs, rounded to values of the type."""
    return {**inputs, "qkv": reduce(inputs["qkv"], dtype).astype(np.float32)}


@cache
def judged(case: Case, dtype: str) -> tuple[dict[str, NDArray[Any]], Judgement]:
    """Return inputs of the type, and the expected output."""
    inputs = rounded(case.inputs(), dtype)
    return inputs, judge(case, inputs, dtype)


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.id)
@pytest.mark.parametrize("case", thinned(SHORT_CASES, SHORT_CASES[::8]), ids=lambda case: case.id)
def test_shared_cases(case: Case, variant: Variant) -> None:
    inputs, judgement = judged(case, variant.dtype)
    fused, workspace = (
        run_attention(case, inputs, variant, rotation=rotation, seed=seed)
        for seed, rotation in enumerate(ROTATIONS)
    )
    judgement.check(fused)
    assert np.array_equal(fused, workspace)
    assert not fused[sum(case.lengths) :].any()  # slack rows


def bits(output: NDArray[np.float32]) -> NDArray[np.uint32]:
    return output.view(np.uint32)


@pytest.mark.parametrize("window", [-1, 64])
@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.id)
def test_bits_do_not_depend_on_batch_or_order(variant: Variant, window: int) -> None:
    """A sequence has the same bits alone, in any batch, at any offset, in any thread order."""
    length = 150
    case = Case((length,), num_heads=1, window=window)
    inputs = case.inputs()
    alone = run_attention(case, inputs, variant)
    for before, after, slack in ([(1,), (), 0], [(63, 0, 66), (129,), 7]):
        batch = Case((*before, length, *after), slack=slack, num_heads=1, window=window)
        begin = sum(before)
        around = batch.inputs(seed=len(before))
        around["qkv"][begin : begin + length] = inputs["qkv"]
        around["rope"] = inputs["rope"]
        output = run_attention(batch, around, variant, seed=begin)
        assert np.array_equal(bits(output[begin : begin + length]), bits(alone))


@pytest.mark.parametrize("window", [-1, 64])
@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.id)
def test_not_finite_inputs_stay_in_their_sequence(variant: Variant, window: int) -> None:
    case = Case((70, 80, 30), slack=3, num_heads=1, window=window)
    inputs = case.inputs()
    expected = run_attention(case, inputs, variant)
    inputs["qkv"][70:150] = np.nan
    inputs["qkv"][100] = np.inf
    output = run_attention(case, inputs, variant)
    assert np.isnan(output[70:150]).any()
    assert np.array_equal(output[:70], expected[:70])
    assert np.array_equal(output[150:], expected[150:])


# Invalid offsets of a caller, for 100 tokens and 64 positions.
HOSTILE_OFFSETS = {
    "decreasing": [0, 70, 30, 100],
    "not from 0": [20, 50, 100],
    "negative": [0, -30, 60, -(2**31), 90],
    "beyond the tokens": [0, 40, 101],
    "far beyond the tokens": [0, 2**31 - 1, 50, 2**31 - 1],
    "all beyond the tokens": [2**31 - 1] * 4,
    "longer than the rope table": [0, 100],
    "no sequence": [0],
}


@pytest.mark.parametrize("rotation", ROTATIONS)
@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.id)
@pytest.mark.parametrize("name", HOSTILE_OFFSETS)
def test_hostile_offsets_touch_nothing_out_of_bounds(
    name: str, variant: Variant, rotation: str
) -> None:
    case = Case((64, 36), num_heads=1, head_dim=32)
    inputs = case.inputs()
    inputs["cu_seqlens"] = np.array(HOSTILE_OFFSETS[name], np.int32)
    output = run_attention(case, inputs, variant, rotation=rotation, exact=False)
    # Any mixture of rows is still an average of values.
    values = np.abs(inputs["qkv"][:, 64:]).max() * 1.01
    assert np.nanmax(np.abs(output), initial=0) <= values


# Of 8,192 tokens, these blocks: the first ones, one in the middle, those at the boundary of the
# sequences, and the last.
@pytest.mark.parametrize("window", [-1, 64, 100])
@pytest.mark.parametrize("variant", VARIANTS[:3], ids=lambda variant: variant.id)
def test_long_sequences(variant: Variant, window: int) -> None:
    case = Case((5000, 3192), num_heads=1, window=window)
    inputs = rounded(case.inputs(), variant.dtype)
    last_of_first = (5000 - 1) // QUERIES
    first_of_second = 5000 // QUERIES + 1
    last = first_of_second + (3192 - 1) // QUERIES
    blocks = (0, 1, 40, last_of_first, first_of_second, first_of_second + 1, last)
    rotation = "workspace" if window < 0 else "fused"  # preferred_rotation()
    output = run_attention(case, inputs, variant, rotation=rotation, blocks=blocks)
    rows = np.flatnonzero(~np.isnan(output).any(axis=1))
    assert rows.size == 5 * QUERIES + 5000 % QUERIES + 3192 % QUERIES
    judge(case, inputs, variant.dtype, rows).check(output[rows])


def test_emulation_reports_what_the_host_refuses() -> None:
    case = Case((5,), head_dim=48)
    with pytest.raises(EmulationError, match=r"head_dim .* is 48"):
        run_attention(case, case.inputs())
    case = Case((5,))
    with pytest.raises(EmulationError, match=r"bfloat16 needs 8.0"):
        run_attention(case, case.inputs(), Variant("bfloat16", 75))
