"""The operators in ONNX: schemas from the table, and bodies in standard operators.

A runtime with the kernel registered uses the kernel; any other inlines the body.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.resources import files

import onnx
import onnx.defs
import onnx.parser
from onnx.defs import OpSchema

from mbert.plugins.operators import DOMAIN, OPERATORS, Operator, Tensor

# Opset of the bodies, and of the CPU graph: what torch.onnx.export writes without conversion.
OPSET = 18

_ONNX_TYPES = {
    "float32": "tensor(float)",
    "float16": "tensor(float16)",
    "bfloat16": "tensor(bfloat16)",
    "int32": "tensor(int32)",
    "uint8": "tensor(uint8)",
}
_ATTRIBUTE_TYPES = {"int": OpSchema.AttrType.INT, "float": OpSchema.AttrType.FLOAT}


def function_body(operator: str, opset: int = OPSET) -> onnx.FunctionProto:
    """Parse the function body of ``operator``, for a graph of ``opset`` (18 or newer).

    The bodies use nothing that a later opset gives another meaning.
    """
    body = onnx.parser.parse_function(_text(operator))
    body.opset_import[0].version = opset
    return body


def _text(operator: str) -> str:
    """Return the body as text; bodies of Quantized* are those of float weights plus a scale."""
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
    """Parse the functions that replace VarlenAttention for engines that load no plugins."""
    folder = files(__name__).joinpath("padded")
    texts = (f.read_text(encoding="utf-8") for f in folder.iterdir() if f.name.endswith(".onnxtxt"))
    return [onnx.parser.parse_function(text) for text in texts]


def register_schemas() -> None:
    """Make the operators known to the ``onnx`` package of this process; idempotent."""
    for operator in OPERATORS.values():
        if not onnx.defs.has(operator.name, DOMAIN):
            onnx.defs.register_schema(_schema(operator))


def _schema(operator: Operator) -> OpSchema:
    def parameter(tensor: Tensor) -> OpSchema.FormalParameter:
        its_type = tensor.type if tensor.type in operator.types else _ONNX_TYPES[tensor.type]
        description = f"[{', '.join(tensor.shape)}] {tensor.meaning}"
        return OpSchema.FormalParameter(tensor.name, its_type, description)

    return OpSchema(
        operator.name,
        DOMAIN,
        operator.version,
        operator.summary,
        inputs=[parameter(tensor) for tensor in operator.inputs],
        outputs=[parameter(operator.output)],
        type_constraints=[
            (variable, [_ONNX_TYPES[name] for name in types], "")
            for variable, types in operator.types.items()
        ],
        attributes=[
            OpSchema.Attribute(
                attribute.name, _ATTRIBUTE_TYPES[attribute.type], attribute.meaning, required=True
            )
            for attribute in operator.attributes
        ],
    )
