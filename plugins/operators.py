"""The operators' contract: names, versions, inputs, attributes, types. Each is said here only.

The references in PyTorch, the ONNX schemas and imports, the versions in manifests and the tables of
docs/operators.md come from this table; tests compare the function bodies and the libraries with it.

It is part of ``plugins``, beside the compiled libraries that keep the contract, because runtime and
export both read it; for its sake ``model`` may import ``plugins``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

DOMAIN = "mbert"

# Names of the codes that ONNX attributes hold: the opset of the export compares no strings.
POOLING_MODES = {
    "cls": 0,
    "mean": 1,
    "max": 2,
    "mean_sqrt_len_tokens": 3,
    "lasttoken": 4,
    "weightedmean": 5,
}
ACTIVATION_CODES = {"gelu": 0, "silu": 1, "relu": 2, "gelu_pytorch_tanh": 3}


@dataclass(frozen=True)
class Tensor:
    """An input or the output of an operator.

    Attributes:
        name: of the ONNX input.
        type: an element type, or a key of the operator's ``types``.
        shape: one expression for each dimension.
        meaning: in words, for the documentation.
    """

    name: str
    type: str
    shape: tuple[str, ...]
    meaning: str = ""


@dataclass(frozen=True)
class Attribute:
    """An attribute of an operator; all are required.

    Attributes:
        name: of the ONNX attribute.
        type: "int" or "float".
        meaning: in words, for the documentation.
        codes: integer by name, for an attribute that is a name in PyTorch; None for a number.
    """

    name: str
    type: str
    meaning: str = ""
    codes: Mapping[str, int] | None = None


@dataclass(frozen=True)
class Operator:
    """An operator of the domain ``mbert``.

    Attributes:
        name: of the ONNX operator.
        version: opset version of the domain since which the contract holds, ONNX's since_version.
        summary: in words.
        inputs: in order.
        output: of which there is one.
        attributes: in the order of the PyTorch arguments, which follow the inputs.
        types: element types that a type variable of the inputs stands for.
    """

    name: str
    version: int
    summary: str
    inputs: tuple[Tensor, ...]
    output: Tensor
    attributes: tuple[Attribute, ...] = ()
    types: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def torch_name(self) -> str:
        """The name in ``torch.ops.mbert``."""
        return re.sub(r"(?<!^)(?=[A-Z])", "_", self.name).lower()

    def input_index(self, name: str) -> int:
        """Return the position of an input."""
        return [tensor.name for tensor in self.inputs].index(name)


_FLOATS = {"T": ("float32", "float16", "bfloat16")}

_CU_SEQLENS = Tensor(
    "cu_seqlens", "int32", ("sequences + 1",), "cumulative lengths from 0, non-decreasing"
)

_ATTENTION = Operator(
    "VarlenAttention",
    1,
    "Rotary attention within packed sequences, global or in a sliding window.",
    (
        Tensor("qkv", "T", ("tokens", "3 * heads * head_dim"), "Q, K and V heads of each token"),
        _CU_SEQLENS,
        Tensor("rope", "float32", ("max_position", "head_dim"), "rotary table: see below"),
    ),
    Tensor("context", "T", ("tokens", "heads * head_dim"), "zeros in rows behind `cu_seqlens[-1]`"),
    (
        Attribute("num_heads", "int", "attention heads"),
        Attribute("scale", "float", "multiplies the scores"),
        Attribute("window", "int", "-1: global; w >= 0: only keys with abs(i - j) <= w"),
    ),
    _FLOATS,
)

_POOLING = Operator(
    "VarlenPooling",
    1,
    "One vector for each packed sequence.",
    (Tensor("hidden", "T", ("tokens", "hidden")), _CU_SEQLENS),
    Tensor("pooled", "T", ("sequences", "hidden"), "zeros for an empty sequence"),
    (Attribute("mode", "int", "see below", POOLING_MODES),),
    _FLOATS,
)


def _linear_forms(
    prefix: str, summary: str, weight_types: tuple[str, ...], weight: tuple[Tensor, ...]
) -> tuple[Operator, ...]:
    """Make the four forms of the linear layer for one kind of weights."""
    x = Tensor("x", "float32", ("tokens", "inputs"))
    norm = (
        Tensor("norm_weight", "float32", ("inputs",), "of a LayerNorm of x"),
        Tensor("norm_bias", "float32", ("inputs",), "of that LayerNorm"),
    )
    linear = (*weight, Tensor("bias", "float32", ("outputs",)))
    residual = Tensor("residual", "float32", ("tokens", "outputs"), "is added")
    epsilon = Attribute("epsilon", "float", "of the LayerNorm")
    codes = ", ".join(f"{code}: {name}" for name, code in ACTIVATION_CODES.items())
    activation = Attribute("activation", "int", f"of the values; {codes}", ACTIVATION_CODES)
    y = Tensor("y", "float32", ("tokens", "outputs"))
    gated = Tensor("y", "float32", ("tokens", "outputs / 2"), "activated values * gates")
    forms: tuple[tuple[str, tuple[Tensor, ...], Tensor, tuple[Attribute, ...]], ...] = (
        ("Linear", (x, *linear), y, ()),
        ("ResidualLinear", (x, *linear, residual), y, ()),
        ("NormLinear", (x, *norm, *linear), y, (epsilon,)),
        ("NormGatedLinear", (x, *norm, *linear), gated, (epsilon, activation)),
    )
    types = {"W": weight_types}
    return tuple(
        Operator(f"{prefix}{name}", 1, summary, inputs, output, attributes, types)
        for name, inputs, output, attributes in forms
    )


_LINEAR = _linear_forms(
    "",
    "A linear layer on rows that are rounded to the type of the weights.",
    ("float32", "bfloat16"),
    (
        Tensor(
            "weight",
            "W",
            ("outputs / 16", "inputs / n", "16", "n"),
            "in panels; n is 1 (float32) or 2 (bfloat16)",
        ),
    ),
)
_QUANTIZED_LINEAR = _linear_forms(
    "Quantized",
    "A linear layer with 8-bit weights on rows that are quantized as they come.",
    ("uint8",),
    (
        Tensor(
            "weight", "W", ("outputs / 16", "inputs / 4", "16", "4"), "in panels; 128 stands for 0"
        ),
        Tensor("weight_scale", "float32", ("outputs",), "a weight is scale * (weight - 128)"),
    ),
)

OPERATORS = {
    operator.name: operator for operator in (_ATTENTION, _POOLING, *_LINEAR, *_QUANTIZED_LINEAR)
}
# What a graph imports. It grows when any operator changes; the others keep their versions.
DOMAIN_VERSION = max(operator.version for operator in OPERATORS.values())
