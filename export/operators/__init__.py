"""The operators as ONNX knows them: their schemas, and their bodies in standard operators.

A runtime that has the kernel registered uses the kernel; any other inlines the body.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.resources import files

import onnx
import onnx.defs
import onnx.parser
from onnx.defs import OpSchema

DOMAIN = "mbert"
# Opset of the bodies, and of the CPU graph: what torch.onnx.export writes without conversion.
OPSET = 18
# Version of the operators' contract (inputs, attributes, meaning): the domain's opset version.
OPERATOR_VERSION = 1
OPERATORS = (
    "VarlenAttention",
    "VarlenPooling",
    "Linear",
    "ResidualLinear",
    "NormLinear",
    "NormGatedLinear",
    "QuantizedLinear",
    "QuantizedResidualLinear",
    "QuantizedNormLinear",
    "QuantizedNormGatedLinear",
)

_Input = OpSchema.FormalParameter
_Attribute = OpSchema.Attribute
_FLOATS = ("T", ["tensor(float)", "tensor(float16)", "tensor(bfloat16)"], "")


def function_body(operator: str, opset: int = OPSET) -> onnx.FunctionProto:
    """Parse the function body of ``operator``, for a graph of ``opset`` (18 or newer).

    The bodies use nothing that a later opset gives another meaning.
    """
    body = onnx.parser.parse_function(_text(operator))
    body.opset_import[0].version = opset
    return body


def _text(operator: str) -> str:
    """The body as text; the relatives of QuantizedLinear differ from Linear's by one operand."""
    file = files(__name__).joinpath(f"{operator}.onnxtxt")
    if file.is_file():
        return file.read_text(encoding="utf-8")
    text = _text(operator.removeprefix("Quantized"))
    text = re.sub(r"\b(\w*Linear)\b", r"Quantized\1", text)
    return re.sub(r"\bweight, ", "weight, weight_scale, ", text)


def function_bodies(operators: Iterable[str], opset: int = OPSET) -> list[onnx.FunctionProto]:
    """Parse the bodies of ``operators`` and of the operators that these call."""
    bodies: dict[str, onnx.FunctionProto] = {}
    wanted = list(operators)
    while wanted:
        operator = wanted.pop()
        if operator not in bodies:
            bodies[operator] = function_body(operator, opset)
            wanted += [node.op_type for node in bodies[operator].node if node.domain == DOMAIN]
    return list(bodies.values())


def padded_functions() -> list[onnx.FunctionProto]:
    """Parse the functions that take the place of VarlenAttention where no plugin can be loaded."""
    folder = files(__name__).joinpath("padded")
    texts = (f.read_text(encoding="utf-8") for f in folder.iterdir() if f.name.endswith(".onnxtxt"))
    return [onnx.parser.parse_function(text) for text in texts]


def register_schemas() -> None:
    """Make the operators known to the ``onnx`` package of this process; harmless when repeated."""
    integer = OpSchema.AttrType.INT
    schemas = [
        OpSchema(
            "VarlenAttention",
            DOMAIN,
            OPERATOR_VERSION,
            "Rotary attention within packed sequences, global or in a sliding window.",
            inputs=[
                _Input("qkv", "T", "[tokens, 3 * heads * head_dim]"),
                _Input("cu_seqlens", "tensor(int32)", "[sequences + 1], cumulative from 0"),
                _Input("rope", "tensor(float)", "[max_position, head_dim], cosines then sines"),
            ],
            outputs=[_Input("context", "T", "[tokens, heads * head_dim]")],
            type_constraints=[_FLOATS],
            attributes=[
                _Attribute("num_heads", integer, "attention heads", required=True),
                _Attribute("scale", OpSchema.AttrType.FLOAT, "of the scores", required=True),
                _Attribute("window", integer, "-1, or the largest abs(i - j)", required=True),
            ],
        ),
        OpSchema(
            "VarlenPooling",
            DOMAIN,
            OPERATOR_VERSION,
            "One vector for each packed sequence.",
            inputs=[
                _Input("hidden", "T", "[tokens, hidden_size]"),
                _Input("cu_seqlens", "tensor(int32)", "[sequences + 1], cumulative from 0"),
            ],
            outputs=[_Input("pooled", "T", "[sequences, hidden_size]")],
            type_constraints=[_FLOATS],
            attributes=[_Attribute("mode", integer, "0 to 5: docs/operators.md", required=True)],
        ),
        *_linear_schemas(),
    ]
    for schema in schemas:
        if not onnx.defs.has(schema.name, DOMAIN):
            onnx.defs.register_schema(schema)


def _linear_schemas() -> list[OpSchema]:
    """The forms of the linear layer, with weights of floats and of 8 bits."""
    float32 = "tensor(float)"
    x = _Input("x", float32, "[tokens, inputs]")
    norm = [
        _Input("norm_weight", float32, "[inputs], of a LayerNorm of x"),
        _Input("norm_bias", float32, "[inputs]"),
    ]
    bias = _Input("bias", float32, "[outputs]")
    floats = [
        _Input("weight", "W", "[outputs / 16, inputs / n, 16, n], n = 1 (float32) or 2 (bfloat16)"),
        bias,
    ]
    quantized = [
        _Input("weight", "W", "[outputs / 16, inputs / 4, 16, 4], around 128"),
        _Input("weight_scale", float32, "[outputs]"),
        bias,
    ]
    residual = _Input("residual", float32, "[tokens, outputs]")
    epsilon = _Attribute("epsilon", OpSchema.AttrType.FLOAT, "of the LayerNorm", required=True)
    activation = _Attribute(
        "activation",
        OpSchema.AttrType.INT,
        "of the values: 0: gelu, 1: silu, 2: relu, 3: gelu_pytorch_tanh",
        required=True,
    )

    def forms(
        prefix: str, types: list[str], linear: list[OpSchema.FormalParameter], what: str
    ) -> list[OpSchema]:
        return [
            OpSchema(
                f"{prefix}{name}",
                DOMAIN,
                OPERATOR_VERSION,
                what,
                inputs=inputs,
                outputs=[_Input("y", float32, "[tokens, columns]")],
                type_constraints=[("W", types, "")],
                attributes=attributes,
            )
            for name, inputs, attributes in (
                ("Linear", [x, *linear], []),
                ("ResidualLinear", [x, *linear, residual], []),
                ("NormLinear", [x, *norm, *linear], [epsilon]),
                ("NormGatedLinear", [x, *norm, *linear], [epsilon, activation]),
            )
        ]

    return [
        *forms(
            "",
            [float32, "tensor(bfloat16)"],
            floats,
            "A linear layer on rows that are rounded to the type of the weights.",
        ),
        *forms(
            "Quantized",
            ["tensor(uint8)"],
            quantized,
            "A linear layer with 8-bit weights on rows that are quantized as they come.",
        ),
    ]
