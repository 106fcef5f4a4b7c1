"""The CPU attention kernels: shared cases, types, instruction sets, bit identity, bad inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from support.attention import judge, pytorch, reference
from support.cases import CASES, LONG_CASES, Case
from support.isas import FLOAT_ISAS
from support.onnx_nodes import attention_model, reduce, run, session
from support.thinning import thinned


def kernel(case: Case, inputs: dict[str, NDArray[Any]], dtype: str = "float32") -> NDArray[Any]:
    return run(session(attention_model(case.num_heads, case.scale, case.window, dtype)), inputs)


@pytest.mark.parametrize("isa", FLOAT_ISAS)
@pytest.mark.parametrize("case", thinned(CASES, CASES[::5]), ids=lambda case: case.id)
def test_float32(case: Case, isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MBERT_ISA", isa)
    inputs = case.inputs()
    output = kernel(case, inputs)
    judge(case, inputs).check(output)
    assert not output[sum(case.lengths) :].any()  # slack rows


@pytest.mark.parametrize("isa", [isa for isa in FLOAT_ISAS if isa != "scalar"])
@pytest.mark.parametrize("case", thinned(LONG_CASES, LONG_CASES[1:]), ids=lambda case: case.id)
def test_float32_long(case: Case, isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MBERT_ISA", isa)
    inputs = case.inputs()
    judge(case, inputs).check(kernel(case, inputs))


@pytest.mark.parametrize("isa", FLOAT_ISAS)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("window", thinned([-1, 0, 1, 64], [-1, 64]))
@pytest.mark.parametrize("head_dim", [32, 64, 128])
def test_reduced_precision_errs_at_most_twice_pytorch(
    head_dim: int, window: int, dtype: str, isa: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MBERT_ISA", isa)
    case = Case((130, 0, 1, 257), slack=5, num_heads=3, head_dim=head_dim, window=window)
    inputs = case.inputs()
    inputs["qkv"] = reduce(inputs["qkv"], dtype).astype(np.float32)
    judge(case, inputs, dtype).check(kernel(case, inputs, dtype))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_pytorch_reference_in_float64_is_exact(case: Case) -> None:
    """In float64 the PyTorch reference equals the oracle."""
    inputs = case.inputs()
    exact = reference(case, inputs)
    assert np.allclose(pytorch(case, inputs, torch.float64), exact, rtol=0, atol=1e-12)


@pytest.mark.parametrize("isa", FLOAT_ISAS)
@settings(max_examples=25, deadline=None)
@given(
    before=st.lists(st.integers(0, 150), max_size=4),
    after=st.lists(st.integers(0, 150), max_size=4),
    length=st.integers(1, 300),
    slack=st.integers(0, 40),
    window=st.sampled_from([-1, 0, 1, 16, 64]),
    threads=st.integers(1, 3),
)
def test_bits_do_not_depend_on_the_batch(
    isa: str,
    before: list[int],
    after: list[int],
    length: int,
    slack: int,
    window: int,
    threads: int,
) -> None:
    """A sequence has the same bits alone, in any batch, at any offset, with any threads."""
    batch = Case((*before, length, *after), slack=slack, head_dim=32, window=window)
    inputs = batch.inputs(seed=length)
    begin = sum(before)
    alone = {
        "qkv": inputs["qkv"][begin : begin + length],
        "cu_seqlens": np.array([0, length], np.int32),
        "rope": inputs["rope"],
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MBERT_ISA", isa)
        model = attention_model(batch.num_heads, batch.scale, window)
        together = run(session(model, threads=threads), inputs)[begin : begin + length]
        single = run(session(model, threads=1), alone)
    assert np.array_equal(together.view(np.uint32), single.view(np.uint32))


def test_unknown_isa_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MBERT_ISA", "sse9")
    with pytest.raises(Exception, match=r"MBERT_ISA is 'sse9'.*scalar"):
        session(attention_model(2, 1.0, -1))


def test_not_finite_inputs_do_no_harm() -> None:
    """A NaN stays in its sequence."""
    case = Case((70, 80), window=64)
    inputs = case.inputs()
    inputs["qkv"][:70] = np.nan
    inputs["qkv"][3] = np.inf
    output = kernel(case, inputs)
    judge(case, case.inputs(), rows=np.arange(70, 150)).check(output[70:])


def _bad(**changes: Any) -> dict[str, NDArray[Any]]:
    return {**Case((5, 7), num_heads=2, head_dim=32).inputs(), **changes}


BAD_INPUTS = {
    "qkv of rank 1": (_bad(qkv=np.zeros(12, np.float32)), "qkv"),
    "qkv of rank 3": (_bad(qkv=np.zeros((12, 3, 64), np.float32)), "qkv"),
    "channels do not fit": (_bad(qkv=np.zeros((12, 191), np.float32)), "191"),
    "no offsets": (_bad(cu_seqlens=np.zeros(0, np.int32)), "cu_seqlens"),
    "offsets of rank 2": (_bad(cu_seqlens=np.zeros((2, 2), np.int32)), "cu_seqlens"),
    "not from 0": (_bad(cu_seqlens=np.array([1, 12], np.int32)), "cu_seqlens"),
    "negative": (_bad(cu_seqlens=np.array([0, -3, 12], np.int32)), "cu_seqlens"),
    "decreasing": (_bad(cu_seqlens=np.array([0, 6, 5, 12], np.int32)), "cu_seqlens"),
    "past the tokens": (_bad(cu_seqlens=np.array([0, 6, 13], np.int32)), "cu_seqlens"),
    "far past the tokens": (_bad(cu_seqlens=np.array([0, 2**31 - 1], np.int32)), "sequence 0"),
    "over-long": (_bad(cu_seqlens=np.array([0, 12], np.int32)), "sequence 0 has 12 tokens"),
    "rope of rank 1": (_bad(rope=np.zeros(32, np.float32)), "rope"),
    "rope without columns": (_bad(rope=np.zeros((7, 0), np.float32)), "head_dim"),
    "odd head_dim": (_bad(rope=np.zeros((12, 31), np.float32)), "31"),
    "head_dim too large": (
        _bad(rope=np.zeros((12, 512), np.float32), qkv=np.zeros((12, 3072), np.float32)),
        "512",
    ),
}


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_bad_inputs_are_refused(name: str) -> None:
    inputs, found = BAD_INPUTS[name]
    loaded = session(attention_model(2, 1.0, 64))
    with pytest.raises(Exception, match=found):
        loaded.run(None, inputs)
    # The session still works.
    assert np.isfinite(run(loaded, _bad())).all()


@pytest.mark.parametrize(
    ("attributes", "found"),
    [
        ({"num_heads": 0}, "num_heads"),
        ({"num_heads": -1}, "num_heads"),
        ({"window": -2}, "window"),
        ({"scale": float("nan")}, "scale"),
        ({"scale": float("inf")}, "scale"),
    ],
)
def test_bad_attributes_are_refused(attributes: dict[str, Any], found: str) -> None:
    model = attention_model(**{"num_heads": 2, "scale": 1.0, "window": 4, **attributes})
    with pytest.raises(Exception, match=found):
        run(session(model), _bad())


@pytest.mark.parametrize("attribute", ["num_heads", "scale", "window"])
def test_missing_attribute_is_refused(attribute: str) -> None:
    model = attention_model(2, 1.0, 4)
    node = model.graph.node[1]
    kept = [entry for entry in node.attribute if entry.name != attribute]
    del node.attribute[:]
    node.attribute.extend(kept)
    with pytest.raises(Exception, match=attribute):
        session(model)
