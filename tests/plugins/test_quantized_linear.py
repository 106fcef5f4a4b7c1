"""The CPU kernels of the quantized linear operators: exact sums, every form, bad inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto

from mbert.model import quantized
from support.isas import ISAS
from support.onnx_nodes import node_model, run, session

FORMS = (
    "QuantizedLinear",
    "QuantizedResidualLinear",
    "QuantizedNormLinear",
    "QuantizedNormGatedLinear",
)
EPSILON = 1e-5
Inputs = dict[str, NDArray[Any]]


def _loaded(
    form: str, plugin: bool = True, threads: int = 2, **attributes: Any
) -> ort.InferenceSession:
    norm = "Norm" in form
    vector = (TensorProto.FLOAT, [None])
    inputs = {
        "x": (TensorProto.FLOAT, [None, None]),
        **({"norm_weight": vector, "norm_bias": vector} if norm else {}),
        "weight": (TensorProto.UINT8, [None] * 4),
        "weight_scale": vector,
        "bias": vector,
        **({"residual": (TensorProto.FLOAT, [None, None])} if "Residual" in form else {}),
    }
    if norm:
        attributes = {"epsilon": EPSILON, **attributes}
    if "Gated" in form:
        attributes = {"activation": 0, **attributes}
    return session(node_model(form, inputs, "float32", **attributes), plugin, threads)


def _integers(rows: int, columns: int, seed: int = 0) -> NDArray[np.int8]:
    return np.random.default_rng(seed).integers(-127, 128, (rows, columns), dtype=np.int8)


def _packed(weight: NDArray[np.int8]) -> NDArray[np.uint8]:
    packed: NDArray[np.uint8] = quantized.pack(torch.from_numpy(weight)).numpy()
    return packed


def _inputs(form: str, tokens: int, inputs: int, outputs: int, seed: int = 0) -> Inputs:
    generator = np.random.default_rng(seed)

    def normal(*shape: int) -> NDArray[np.float32]:
        return generator.standard_normal(shape).astype(np.float32)

    made: Inputs = {"x": normal(tokens, inputs)}
    if "Norm" in form:
        made |= {"norm_weight": 1 + normal(inputs) / 4, "norm_bias": normal(inputs) / 4}
    made |= {
        "weight": _packed(_integers(outputs, inputs, seed)),
        "weight_scale": 0.01 * (1 + generator.random(outputs, np.float32)),
        "bias": normal(outputs),
    }
    if "Residual" in form:
        made["residual"] = normal(tokens, outputs)
    return made


def _reference(form: str, inputs: Inputs, activation: str = "gelu") -> NDArray[np.float64]:
    """PyTorch, in float64 but for the weights."""
    tensors = [torch.from_numpy(value) for value in inputs.values()]
    doubles = [t if t.dtype == torch.uint8 else t.double() for t in tensors]
    operator = {
        "QuantizedLinear": quantized.quantized_linear,
        "QuantizedResidualLinear": quantized.quantized_residual_linear,
        "QuantizedNormLinear": lambda *t: quantized.quantized_norm_linear(*t, EPSILON),
        "QuantizedNormGatedLinear": lambda *t: quantized.quantized_norm_gated_linear(
            *t, EPSILON, activation
        ),
    }[form]
    return np.asarray(operator(*doubles))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(
    ("tokens", "inputs", "outputs"),
    [(0, 16, 16), (1, 16, 16), (7, 48, 48), (9, 768, 32), (65, 1152, 144), (130, 64, 272)],
)
def test_sums_are_exact(
    tokens: int, inputs: int, outputs: int, isa: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that are integers already, with the largest magnitudes that there are among them."""
    monkeypatch.setenv("MBERT_ISA", isa)
    x, weight = _integers(tokens, inputs), _integers(outputs, inputs, 1)
    x[:, 0] = 127  # the scale is 1
    x[: tokens // 2], weight[: outputs // 2] = 127, 127
    x[tokens // 3 : tokens // 2] = -127
    found = run(
        _loaded("QuantizedLinear"),
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
@pytest.mark.parametrize("form", FORMS)
def test_against_pytorch(form: str, isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MBERT_ISA", isa)
    inputs = _inputs(form, 37, 176, 96)
    _assert_near(run(_loaded(form), inputs), _reference(form, inputs))


def _assert_near(found: NDArray[np.float32], exact: NDArray[np.float64]) -> None:
    """Apart from float32 rounding, an activation may have been rounded to the other side."""
    assert found.shape == exact.shape
    error = np.abs(found - exact)
    scale = np.abs(exact).max()
    assert error.max() < 0.02 * scale
    assert np.median(error) < 1e-6 * scale


@pytest.mark.parametrize("activation", list(quantized.ACTIVATION_CODES))
@pytest.mark.parametrize("plugin", [True, False], ids=["plugin", "function"])
def test_activations(activation: str, plugin: bool) -> None:
    inputs = _inputs("QuantizedNormGatedLinear", 20, 64, 64)
    code = quantized.ACTIVATION_CODES[activation]
    found = run(_loaded("QuantizedNormGatedLinear", plugin, activation=code), inputs)
    _assert_near(found, _reference("QuantizedNormGatedLinear", inputs, activation))


@pytest.mark.parametrize("form", FORMS)
def test_function_body(form: str) -> None:
    inputs = _inputs(form, 37, 176, 96)
    _assert_near(run(_loaded(form, plugin=False), inputs), _reference(form, inputs))


@pytest.mark.parametrize("isa", ISAS)
def test_a_row_has_the_same_bits_anywhere(isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MBERT_ISA", isa)
    form = "QuantizedNormGatedLinear"
    inputs = _inputs(form, 150, 128, 160)
    whole = run(_loaded(form, threads=1), inputs)
    for threads in (2, 4):
        np.testing.assert_array_equal(run(_loaded(form, threads=threads), inputs), whole)
    for first, end in ((0, 1), (3, 20), (149, 150), (64, 131)):
        part = run(_loaded(form), {**inputs, "x": inputs["x"][first:end]})
        np.testing.assert_array_equal(part, whole[first:end])


@pytest.mark.parametrize("isa", [*ISAS, "function"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_in_its_row(
    value: float, isa: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = isa != "function"
    if plugin:
        monkeypatch.setenv("MBERT_ISA", isa)
    for form in ("QuantizedLinear", "QuantizedNormLinear"):
        inputs = _inputs(form, 12, 64, 48)
        clean = run(_loaded(form, plugin), inputs)
        inputs["x"][5, 17] = value
        found = run(_loaded(form, plugin), inputs)
        assert not np.isfinite(found[5]).any()
        np.testing.assert_array_equal(np.delete(found, 5, 0), np.delete(clean, 5, 0))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("size", [0.0, 1e-42, 1e-37, 1e-30, 1e30])
def test_rows_of_any_magnitude(size: float, isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MBERT_ISA", isa)
    inputs = _inputs("QuantizedLinear", 9, 64, 48)
    inputs["bias"] = np.zeros(48, np.float32)
    inputs["x"] = (inputs["x"] * size).astype(np.float32)
    for plugin in (True, False):
        found = run(_loaded("QuantizedLinear", plugin), inputs)
        exact = _reference("QuantizedLinear", inputs)
        assert np.isfinite(found).all()
        assert np.abs(found - exact).max() <= 0.02 * np.abs(exact).max() + 1e-36


@pytest.mark.parametrize(
    ("form", "changes", "found"),
    [
        ("QuantizedLinear", {"x": np.zeros((3, 48), np.float32)}, "weight"),
        ("QuantizedLinear", {"x": np.zeros((3, 8), np.float32)}, "weight"),
        ("QuantizedLinear", {"weight": np.zeros((3, 16, 4, 16), np.uint8)}, "weight"),
        ("QuantizedLinear", {"weight": np.zeros((0, 16, 16, 4), np.uint8)}, "outputs"),
        ("QuantizedLinear", {"weight_scale": np.zeros(47, np.float32)}, "weight_scale"),
        ("QuantizedLinear", {"bias": np.zeros(1, np.float32)}, "bias"),
        ("QuantizedNormLinear", {"norm_weight": np.zeros(63, np.float32)}, "norm_weight"),
        ("QuantizedNormLinear", {"norm_bias": np.zeros((64, 1), np.float32)}, "norm_bias"),
        ("QuantizedResidualLinear", {"residual": np.zeros((2, 48), np.float32)}, "residual"),
        ("QuantizedNormGatedLinear", {}, "multiple of 32"),
    ],
)
def test_bad_inputs_are_refused(form: str, changes: Inputs, found: str) -> None:
    with pytest.raises(Exception, match=found):
        run(_loaded(form), {**_inputs(form, 3, 64, 48), **changes})


def test_unknown_activation_is_refused() -> None:
    with pytest.raises(Exception, match="activation is 4"):
        _loaded("QuantizedNormGatedLinear", activation=4)


def test_packing_is_undone() -> None:
    weight = torch.from_numpy(_integers(48, 20))
    packed = quantized.pack(weight)
    assert packed.shape == (3, 5, 16, 4)
    assert packed[1, 2, 3, 1].item() == weight[16 + 3, 4 * 2 + 1].item() + 128
    assert torch.equal(quantized.unpack(packed), weight.to(torch.int16))
