"""The table of operators against C++, docs/operators.md and the manifest's versions."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import TensorProto

import mbert.model.operators
from mbert.model.activations import ACTIVATION_FUNCTIONS
from mbert.plugins.operators import (
    ACTIVATION_CODES,
    DOMAIN,
    DOMAIN_VERSION,
    OPERATORS,
    POOLING_MODES,
    Operator,
    Tensor,
)
from support.onnx_nodes import node_model, run, session
from support.operator_docs import markdown_table

ROOT = Path(__file__).parents[2]
DOCS = (ROOT / "docs" / "operators.md").read_text(encoding="utf-8")
TYPES = {
    "float32": TensorProto.FLOAT,
    "int32": TensorProto.INT32,
    "uint8": TensorProto.UINT8,
}
# Sizes at which every operator runs: two tokens in one sequence, 16 inputs, 32 outputs.
SIZES = {
    "tokens": 2,
    "sequences + 1": 2,
    "3 * heads * head_dim": 48,
    "head_dim": 16,
    "max_position": 4,
    "hidden": 16,
    "inputs": 16,
    "outputs": 32,
    "outputs / 16": 2,
    "inputs / n": 16,
    "inputs / 4": 4,
    "16": 16,
    "n": 1,
    "4": 4,
}
ATTRIBUTES = {
    "num_heads": 1,
    "scale": 0.25,
    "window": -1,
    "mode": POOLING_MODES["mean"],
    "epsilon": 1e-5,
    "activation": ACTIVATION_CODES["gelu"],
}
INPUTS = [
    pytest.param(operator, tensor, id=f"{operator.name}-{tensor.name}")
    for operator in OPERATORS.values()
    for tensor in operator.inputs
]
ATTRIBUTES_OF = [
    pytest.param(operator, attribute.name, id=f"{operator.name}-{attribute.name}")
    for operator in OPERATORS.values()
    for attribute in operator.attributes
]


def _type(operator: Operator, tensor: Tensor) -> str:
    return operator.types.get(tensor.type, (tensor.type,))[0]


def _attributes(operator: Operator) -> dict[str, Any]:
    return {attribute.name: ATTRIBUTES[attribute.name] for attribute in operator.attributes}


def _loaded(operator: Operator, **attributes: Any) -> Any:
    inputs = {tensor.name: (TYPES[_type(operator, tensor)], None) for tensor in operator.inputs}
    return session(node_model(operator.name, inputs, "float32", **attributes))


def _arrays(operator: Operator, wrong: str = "") -> dict[str, Any]:
    """Inputs of the table's types and shapes, but for one dimension too many in ``wrong``."""
    arrays = {}
    for tensor in operator.inputs:
        shape = [SIZES[size] for size in tensor.shape]
        array = np.ones(shape, _type(operator, tensor))
        if tensor.name == "cu_seqlens":
            array[:] = [0, SIZES["tokens"]]
        arrays[tensor.name] = array[None] if tensor.name == wrong else array
    return arrays


@pytest.mark.parametrize("operator", OPERATORS.values(), ids=lambda operator: operator.name)
def test_the_library_computes_the_tables_output(operator: Operator) -> None:
    output = run(_loaded(operator, **_attributes(operator)), _arrays(operator))
    sizes = {"sequences": 1, "heads * head_dim": 16, "outputs / 2": 16, **SIZES}
    assert output.shape == tuple(sizes[size] for size in operator.output.shape)


@pytest.mark.parametrize(("operator", "tensor"), INPUTS)
def test_the_library_knows_the_tables_inputs(operator: Operator, tensor: Tensor) -> None:
    loaded = _loaded(operator, **_attributes(operator))
    with pytest.raises(Exception, match=f"{operator.name}: the input '{tensor.name}' "):
        run(loaded, _arrays(operator, wrong=tensor.name))


@pytest.mark.parametrize(("operator", "name"), ATTRIBUTES_OF)
def test_the_library_needs_the_tables_attributes(operator: Operator, name: str) -> None:
    attributes = _attributes(operator)
    value = attributes.pop(name)
    other_type = float(value) if isinstance(value, int) else int(value)
    for wrong in (attributes, {**attributes, name: other_type}):
        with pytest.raises(Exception, match=f"{operator.name}: the attribute '{name}' "):
            _loaded(operator, **wrong)


@pytest.mark.parametrize(
    ("operator", "file"),
    [
        ("VarlenAttention", "varlen_attention_plugin.cc"),
        ("VarlenPooling", "varlen_pooling_plugin.cc"),
    ],
)
def test_the_tensorrt_plugins_declare_the_tables_operators(operator: str, file: str) -> None:
    text = (ROOT / "plugins" / "tensorrt" / file).read_text(encoding="utf-8")
    declared = re.search(r"kInputs\[\] = \{(.*?)\};", text, re.DOTALL)
    assert declared is not None
    entry = OPERATORS[operator]
    found = re.findall(r'\{"(\w+)", (\d),', declared[1])
    assert found == [(tensor.name, str(len(tensor.shape))) for tensor in entry.inputs]
    assert f'kName = "{operator}"' in text
    for attribute in entry.attributes:
        assert f'"{attribute.name}"' in text
    frame = (ROOT / "plugins" / "tensorrt" / "plugin.h").read_text(encoding="utf-8")
    assert f'kVersion = "{entry.version}"' in frame
    assert f'kNamespace = "{DOMAIN}"' in frame


@pytest.mark.parametrize("operator", OPERATORS.values(), ids=lambda operator: operator.name)
def test_pytorch_registers_the_tables_operators(operator: Operator) -> None:
    assert mbert.model.operators.__all__
    schema = getattr(torch.ops.mbert, operator.torch_name).default._schema
    expected = [*operator.inputs, *operator.attributes]
    assert [argument.name for argument in schema.arguments] == [entry.name for entry in expected]


def test_every_operator_has_a_version_of_the_domain() -> None:
    versions = {operator.version for operator in OPERATORS.values()}
    assert min(versions) >= 1
    assert max(versions) == DOMAIN_VERSION


def test_every_code_of_an_activation_is_a_function() -> None:
    assert list(ACTIVATION_CODES) == list(ACTIVATION_FUNCTIONS)


# ---- docs/operators.md


@pytest.mark.parametrize(
    "names",
    [
        ["VarlenAttention"],
        ["VarlenPooling"],
        ["Linear", "ResidualLinear", "NormLinear", "NormGatedLinear"],
        [
            "QuantizedLinear",
            "QuantizedResidualLinear",
            "QuantizedNormLinear",
            "QuantizedNormGatedLinear",
        ],
    ],
    ids=lambda names: names[0],
)
def test_the_docs_have_the_tables_operators(names: list[str]) -> None:
    operators = [OPERATORS[name] for name in names]
    assert re.search(rf"^## {names[0]}\b.*, version {operators[0].version}$", DOCS, re.MULTILINE)
    assert markdown_table(operators) in DOCS


def test_the_docs_have_the_tables_modes() -> None:
    found = re.findall(r"^\| (\d) \| (\w+) \| .* \|$", DOCS, re.MULTILINE)
    assert {name: int(code) for code, name in found} == POOLING_MODES
