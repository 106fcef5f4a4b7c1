"""The operators' function bodies, run by ONNX Runtime with no kernel registered."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from mbert.export.operators import OPSET, function_bodies, function_body
from mbert.model.operators.attention import varlen_attention
from mbert.model.operators.pooling import varlen_pooling
from mbert.plugins.operators import DOMAIN, OPERATORS, POOLING_MODES
from support import oracle
from support.cases import CASES, LONG_CASES, Case
from support.onnx_nodes import attention_model, pooling_model, run, session
from support.pooling import POOLINGS, assert_pooled, pooling_inputs
from support.thinning import thinned


@lru_cache
def attention_session(num_heads: int, scale: float, window: int) -> ort.InferenceSession:
    return session(attention_model(num_heads, scale, window), plugin=False)


@lru_cache
def pooling_session(mode: str) -> ort.InferenceSession:
    return session(pooling_model(POOLING_MODES[mode]), plugin=False)


# ---- attention


@pytest.mark.parametrize(
    "case", thinned([*CASES, *LONG_CASES], CASES[::3]), ids=lambda case: case.id
)
def test_attention_is_as_exact_as_pytorch(case: Case) -> None:
    inputs = case.inputs()
    attributes = (case.num_heads, case.scale, case.window)
    exact = oracle.attention(*inputs.values(), *attributes)
    reference = varlen_attention(*map(torch.from_numpy, inputs.values()), *attributes).numpy()
    found = run(attention_session(*attributes), inputs)
    assert found.shape == exact.shape
    assert found.dtype == np.float32
    largest = np.abs(exact).max(initial=0.0)
    tolerance = max(4 * np.abs(reference - exact).max(initial=0.0), 1e-6 * largest)
    assert np.abs(found - exact).max(initial=0.0) <= tolerance


@pytest.mark.parametrize("window", [-1, 0, 64])
def test_slack_rows_are_zeros(window: int) -> None:
    case = Case((3, 0, 70), slack=11, window=window)
    found = run(attention_session(case.num_heads, case.scale, case.window), case.inputs())
    assert found.shape == (84, 128)
    assert not found[73:].any()
    assert found[:73].any(axis=1).all()


@pytest.mark.parametrize("window", [-1, 64])
def test_a_neighbour_of_large_values_changes_nothing(window: int) -> None:
    case = Case((100, 200, 100), window=window)
    inputs = case.inputs()
    model = attention_session(case.num_heads, case.scale, case.window)
    before = run(model, inputs)
    inputs["qkv"][:100] *= 1e4
    inputs["qkv"][300:] *= -1e4
    np.testing.assert_array_equal(run(model, inputs)[100:300], before[100:300])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("window", [-1, 64])
def test_attention_takes_the_reduced_types(dtype: str, window: int) -> None:
    case = Case((130, 0, 1, 65), slack=5, window=window)
    inputs = case.inputs()
    kind = getattr(torch, dtype)
    reduced = torch.from_numpy(inputs["qkv"]).to(kind)
    inputs["qkv"] = reduced.float().numpy()
    attributes = (case.num_heads, case.scale, case.window)
    exact = oracle.attention(*inputs.values(), *attributes)
    rest = (torch.from_numpy(inputs["cu_seqlens"]), torch.from_numpy(inputs["rope"]))
    reference = varlen_attention(reduced, *rest, *attributes).float().numpy()
    found = run(session(attention_model(*attributes, dtype), plugin=False), inputs)
    assert np.abs(found - exact).max() <= 2 * np.abs(reference - exact).max()


# ---- pooling


LENGTHS = ((1,), (5, 3), (0,), (4, 0, 0, 1), (0, 7, 0), (1000, 1, 64), ())


@pytest.mark.parametrize("slack", [0, 9])
@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
@pytest.mark.parametrize("mode", POOLINGS)
def test_pooling_is_as_exact_as_pytorch(mode: str, lengths: tuple[int, ...], slack: int) -> None:
    inputs = pooling_inputs(lengths, slack)
    arguments = (torch.from_numpy(array) for array in inputs.values())
    assert_pooled(inputs, varlen_pooling(*arguments, mode).numpy(), mode)
    assert_pooled(inputs, run(pooling_session(mode), inputs), mode)


@pytest.mark.parametrize(
    ("mode", "expected"), [("cls", [0, 4]), ("lasttoken", [3, 5]), ("max", [2, 5])]
)
def test_values_that_are_chosen_are_taken_as_they_are(mode: str, expected: list[int]) -> None:
    hidden = np.random.default_rng(1).standard_normal((6, 8), dtype=np.float32)
    hidden[[2, 5]] += 10
    cu_seqlens = np.array([0, 4, 6], np.int32)
    found = run(pooling_session(mode), {"hidden": hidden, "cu_seqlens": cu_seqlens})
    np.testing.assert_array_equal(found, hidden[expected])


# ---- the bodies themselves


def check(model: onnx.ModelProto) -> None:
    for symbol in ("rows", "columns"):  # the checker wants a shape
        model.graph.output[0].type.tensor_type.shape.dim.add().dim_param = symbol
    onnx.checker.check_model(model, full_check=True)


@pytest.mark.parametrize("window", [-1, 64])
def test_a_model_of_the_attention_passes_the_checker(window: int) -> None:
    check(attention_model(2, 0.125, window))


@pytest.mark.parametrize("mode", ["mean", "max"])
def test_a_model_of_the_pooling_passes_the_checker(mode: str) -> None:
    check(pooling_model(POOLING_MODES[mode]))


@pytest.mark.parametrize("operator", OPERATORS)
def test_a_body_is_made_of_standard_operators(operator: str) -> None:
    """Its own, or those of the bodies that it calls."""
    body = function_body(operator)
    assert (body.domain, body.name) == (DOMAIN, operator)
    assert list(body.input) == [tensor.name for tensor in OPERATORS[operator].inputs]
    assert list(body.attribute) == [entry.name for entry in OPERATORS[operator].attributes]
    assert body.opset_import[0] == onnx.helper.make_opsetid("", OPSET)
    bodies = function_bodies([operator])
    graphs: list[onnx.FunctionProto | onnx.GraphProto] = [*bodies]
    kinds = set()
    while graphs:
        for node in graphs.pop().node:
            if node.domain == DOMAIN:
                assert node.op_type in {called.name for called in bodies}
            else:
                kinds.add(node.op_type)
            graphs += [a.g for a in node.attribute if a.type == onnx.AttributeProto.GRAPH]
    assert kinds & {"MatMul", "MatMulInteger"}
    assert all(onnx.defs.has(kind) for kind in kinds)
