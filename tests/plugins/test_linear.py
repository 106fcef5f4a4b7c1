"""The CPU kernels of the linear operators: exact sums, every form, every type, bad inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper

from mbert.model.operators import linear
from mbert.model.operators import quantized_linear as quantized
from mbert.plugins.operators import ACTIVATION_CODES
from support.isas import ISAS
from support.onnx_nodes import node_model, run, session

FORMS = ("Linear", "ResidualLinear", "NormLinear", "NormGatedLinear")
WEIGHTS = ("float32", "bfloat16", "int8")
EPSILON = 1e-5
Inputs = dict[str, NDArray[Any]]
# Tolerances against PyTorch in float64, relative to the largest value. If rows are rounded, a value
# close to a tie may be rounded the other way.
LARGEST = {"float32": 2e-6, "bfloat16": 2e-3, "int8": 0.02}
MEDIAN = {"float32": 3e-7, "bfloat16": 1e-6, "int8": 1e-6}


def _loaded(
    form: str, weights: str, plugin: bool = True, threads: int = 2, **attributes: Any
) -> ort.InferenceSession:
    norm = "Norm" in form
    vector = (TensorProto.FLOAT, [None])
    element = TensorProto.UINT8 if weights == "int8" else TensorProto.FLOAT
    inputs = {
        "x": (TensorProto.FLOAT, [None, None]),
        **({"norm_weight": vector, "norm_bias": vector} if norm else {}),
        "weight": (element, [None] * 4),
        **({"weight_scale": vector} if weights == "int8" else {}),
        "bias": vector,
        **({"residual": (TensorProto.FLOAT, [None, None])} if "Residual" in form else {}),
    }
    if norm:
        attributes = {"epsilon": EPSILON, **attributes}
    if "Gated" in form:
        attributes = {"activation": 0, **attributes}
    name = f"Quantized{form}" if weights == "int8" else form
    model = node_model(name, inputs, "float32", **attributes)
    if weights == "bfloat16":
        _round_weight(model)
    return session(model, plugin, threads)


def _round_weight(model: onnx.ModelProto) -> None:
    """Convert the weight in the graph: numpy has no bfloat16. Its values are exact in bfloat16."""
    (node,) = (node for node in model.graph.node if node.domain == "mbert")
    node.input[list(node.input).index("weight")] = "rounded"
    cast = helper.make_node("Cast", ["weight"], ["rounded"], to=TensorProto.BFLOAT16)
    model.graph.node.insert(0, cast)


def _integers(rows: int, columns: int, seed: int = 0) -> NDArray[np.int8]:
    return np.random.default_rng(seed).integers(-127, 128, (rows, columns), dtype=np.int8)


def _packed(weight: NDArray[np.int8]) -> NDArray[np.uint8]:
    packed: NDArray[np.uint8] = quantized.pack(torch.from_numpy(weight)).numpy()
    return packed


def _panels(weight: NDArray[Any], weights: str) -> NDArray[np.float32]:
    """Return panels as float32, with values that the type of the weights can represent."""
    dtype = torch.bfloat16 if weights == "bfloat16" else torch.float32
    panels: NDArray[np.float32] = (
        linear.to_panels(torch.from_numpy(weight).to(dtype)).float().numpy()
    )
    return panels


def _inputs(
    form: str, weights: str, tokens: int, inputs: int, outputs: int, seed: int = 0
) -> Inputs:
    generator = np.random.default_rng(seed)

    def normal(*shape: int) -> NDArray[np.float32]:
        return generator.standard_normal(shape).astype(np.float32)

    made: Inputs = {"x": normal(tokens, inputs)}
    if "Norm" in form:
        made |= {"norm_weight": 1 + normal(inputs) / 4, "norm_bias": normal(inputs) / 4}
    if weights == "int8":
        made |= {
            "weight": _packed(_integers(outputs, inputs, seed)),
            "weight_scale": 0.01 * (1 + generator.random(outputs, np.float32)),
        }
    else:
        made["weight"] = _panels(normal(outputs, inputs), weights)
    made["bias"] = normal(outputs)
    if "Residual" in form:
        made["residual"] = normal(tokens, outputs)
    return made


def _reference(
    form: str, weights: str, inputs: Inputs, activation: str = "gelu"
) -> NDArray[np.float64]:
    """Return the result of PyTorch in float64, with weights of the given type."""
    family = quantized.QUANTIZED_OPERATORS if weights == "int8" else linear.FLOAT_OPERATORS
    tensors = {name: torch.from_numpy(value) for name, value in inputs.items()}
    if weights == "bfloat16":
        tensors["weight"] = tensors["weight"].to(torch.bfloat16)
    taken = [t if name == "weight" else t.double() for name, t in tensors.items()]
    operator = {
        "Linear": family.linear,
        "ResidualLinear": family.residual_linear,
        "NormLinear": lambda *t: family.norm_linear(*t, EPSILON),
        "NormGatedLinear": lambda *t: family.norm_gated_linear(*t, EPSILON, activation),
    }[form]
    return np.asarray(operator(*taken))


def _assert_near(found: NDArray[np.float32], exact: NDArray[np.float64], weights: str) -> None:
    assert found.shape == exact.shape
    error = np.abs(found - exact)
    scale = np.abs(exact).max()
    assert error.max() < LARGEST[weights] * scale
    assert np.median(error) < MEDIAN[weights] * scale


SIZES = [(0, 16, 16), (1, 16, 16), (7, 48, 48), (9, 768, 32), (65, 1152, 144), (130, 64, 272)]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(("tokens", "inputs", "outputs"), SIZES)
def test_sums_of_integers_are_exact(
    tokens: int, inputs: int, outputs: int, isa: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of integers, with the largest possible magnitudes among them."""
    monkeypatch.setenv("MBERT_ISA", isa)
    x, weight = _integers(tokens, inputs), _integers(outputs, inputs, 1)
    x[:, 0] = 127  # the scale is 1
    x[: tokens // 2], weight[: outputs // 2] = 127, 127
    x[tokens // 3 : tokens // 2] = -127
    found = run(
        _loaded("Linear", "int8"),
        {
            "x": x.astype(np.float32),
            "weight": _packed(weight),
            "weight_scale": np.ones(outputs, np.float32),
            "bias": np.zeros(outputs, np.float32),
        },
    )
    exact = x.astype(np.int64) @ weight.T.astype(np.int64)
    np.testing.assert_array_equal(found, exact.astype(np.float32))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("weights", ["float32", "bfloat16"])
@pytest.mark.parametrize(("tokens", "inputs", "outputs"), SIZES)
def test_every_product_is_counted_once(
    tokens: int, inputs: int, outputs: int, weights: str, isa: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small integers, whose sums are exact in float32."""
    monkeypatch.setenv("MBERT_ISA", isa)
    x, weight = _integers(tokens, inputs) // 8, _integers(outputs, inputs, 1) // 8
    bias = np.arange(outputs, dtype=np.float32)
    given = {
        "x": x.astype(np.float32),
        "weight": _panels(weight.astype(np.float32), weights),
        "bias": bias,
    }
    exact = x.astype(np.int64) @ weight.T.astype(np.int64) + bias.astype(np.int64)
    found = run(_loaded("Linear", weights), given)
    np.testing.assert_array_equal(found, exact.astype(np.float32))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("form", FORMS)
def test_against_pytorch(
    form: str, weights: str, isa: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MBERT_ISA", isa)
    inputs = _inputs(form, weights, 37, 176, 96)
    _assert_near(run(_loaded(form, weights), inputs), _reference(form, weights, inputs), weights)


@pytest.mark.parametrize("activation", list(ACTIVATION_CODES))
@pytest.mark.parametrize("plugin", [True, False], ids=["plugin", "function"])
@pytest.mark.parametrize("weights", ["float32", "int8"])
def test_activations(weights: str, activation: str, plugin: bool) -> None:
    inputs = _inputs("NormGatedLinear", weights, 20, 64, 64)
    code = ACTIVATION_CODES[activation]
    found = run(_loaded("NormGatedLinear", weights, plugin, activation=code), inputs)
    _assert_near(found, _reference("NormGatedLinear", weights, inputs, activation), weights)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("form", FORMS)
def test_function_body(form: str, weights: str) -> None:
    inputs = _inputs(form, weights, 37, 176, 96)
    found = run(_loaded(form, weights, plugin=False), inputs)
    _assert_near(found, _reference(form, weights, inputs), weights)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("form", ["Linear", "NormGatedLinear"])
def test_a_row_has_the_same_bits_anywhere(
    form: str, weights: str, isa: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MBERT_ISA", isa)
    inputs = _inputs(form, weights, 150, 128, 160)
    whole = run(_loaded(form, weights, threads=1), inputs)
    for threads in (2, 4):
        np.testing.assert_array_equal(run(_loaded(form, weights, threads=threads), inputs), whole)
    model = _loaded(form, weights)
    for first, end in ((0, 1), (3, 20), (149, 150), (64, 131), (5, 12)):
        part = run(model, {**inputs, "x": inputs["x"][first:end]})
        np.testing.assert_array_equal(part, whole[first:end])


@pytest.mark.parametrize("isa", [*ISAS, "function"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("weights", WEIGHTS)
def test_what_is_not_finite_stays_in_its_row(
    weights: str, value: float, isa: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = isa != "function"
    if plugin:
        monkeypatch.setenv("MBERT_ISA", isa)
    for form in ("Linear", "NormLinear"):
        inputs = _inputs(form, weights, 12, 64, 48)
        clean = run(_loaded(form, weights, plugin), inputs)
        inputs["x"][5, 17] = value
        found = run(_loaded(form, weights, plugin), inputs)
        assert not np.isfinite(found[5]).any()
        np.testing.assert_array_equal(np.delete(found, 5, 0), np.delete(clean, 5, 0))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("size", [0.0, 1e-42, 1e-37, 1e-30, 1e30])
@pytest.mark.parametrize("weights", WEIGHTS)
def test_rows_of_any_magnitude(
    weights: str, size: float, isa: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MBERT_ISA", isa)
    inputs = _inputs("Linear", weights, 9, 64, 48)
    inputs["bias"] = np.zeros(48, np.float32)
    inputs["x"] = (inputs["x"] * size).astype(np.float32)
    for plugin in (True, False):
        found = run(_loaded("Linear", weights, plugin), inputs)
        exact = _reference("Linear", weights, inputs)
        assert np.isfinite(found).all()
        assert np.abs(found - exact).max() <= 0.02 * np.abs(exact).max() + 1e-36


@pytest.mark.parametrize(
    ("form", "changes", "found"),
    [
        ("Linear", {"x": np.zeros((3, 48), np.float32)}, "weight"),
        ("Linear", {"x": np.zeros((3, 8), np.float32)}, "weight"),
        ("Linear", {"weight": np.zeros((3, 16, 4, 16))}, "weight"),
        ("Linear", {"weight": np.zeros((0, 64, 16, 1))}, "weight|outputs"),
        ("Linear", {"bias": np.zeros(1, np.float32)}, "bias"),
        ("NormLinear", {"norm_weight": np.zeros(63, np.float32)}, "norm_weight"),
        ("NormLinear", {"norm_bias": np.zeros((64, 1), np.float32)}, "norm_bias"),
        ("ResidualLinear", {"residual": np.zeros((2, 48), np.float32)}, "residual"),
        ("NormGatedLinear", {}, "multiple of 32"),
    ],
)
@pytest.mark.parametrize("weights", WEIGHTS)
def test_bad_inputs_are_refused(form: str, changes: Inputs, found: str, weights: str) -> None:
    inputs = _inputs(form, weights, 3, 64, 48)
    wrong = {name: value.astype(inputs[name].dtype) for name, value in changes.items()}
    with pytest.raises(Exception, match=found):
        run(_loaded(form, weights), {**inputs, **wrong})


def test_a_scale_too_few_is_refused() -> None:
    inputs = _inputs("Linear", "int8", 3, 64, 48)
    with pytest.raises(Exception, match="weight_scale"):
        run(_loaded("Linear", "int8"), {**inputs, "weight_scale": np.zeros(47, np.float32)})


def test_unknown_activation_is_refused() -> None:
    with pytest.raises(Exception, match="activation is 4"):
        _loaded("NormGatedLinear", "float32", activation=4)


@pytest.mark.parametrize(("dtype", "together"), list(linear.PANEL_INPUTS.items()))
def test_panels_are_undone(dtype: torch.dtype, together: int) -> None:
    weight = torch.from_numpy(_integers(48, 32) // 2 + 64).to(dtype)
    panels = linear.to_panels(weight)
    assert panels.shape == (3, 32 // together, 16, together)
    step, within = divmod(9, together)
    assert panels[1, step, 3, within] == weight[16 + 3, 9]
    assert torch.equal(linear.from_panels(panels), weight)


def test_bytes_are_around_128() -> None:
    weight = torch.from_numpy(_integers(48, 20))
    packed = quantized.pack(weight)
    assert packed[1, 2, 3, 1].item() == weight[16 + 3, 4 * 2 + 1].item() + 128
    assert torch.equal(quantized.unpack(packed), weight.to(torch.int16))
