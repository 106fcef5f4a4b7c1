"""Read weight files and operator domains of an ONNX model without the onnx package.

Runtimes open any path that a model names, and TensorRT-RTX aborts the process on a plugin node, so
both are checked first. Only the protobuf fields on the way are parsed.
"""

from __future__ import annotations

from collections.abc import Iterator

# Numbers of the message-valued fields to follow, by message (onnx.proto).
_FIELDS: dict[str, dict[int, str]] = {
    "Model": {7: "Graph", 25: "Function"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Function": {7: "Node", 11: "Attribute"},
    "Node": {5: "Attribute"},
    "Attribute": {
        5: "Tensor",
        6: "Graph",
        10: "Tensor",
        11: "Graph",
        22: "SparseTensor",
        23: "SparseTensor",
    },
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
    "Tensor": {13: "Entry"},
}
_NODE_DOMAIN = 7  # of NodeProto
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5


def external_files(model: bytes) -> set[str]:
    """Collect the locations of external data in a serialised ModelProto.

    Raises:
        ValueError: not a protobuf message.
    """
    found: set[str] = set()
    for entry in _messages(model, "Entry"):
        fields = {number: bytes(value) for number, value in _length_fields(entry)}
        if fields.get(1) == b"location":
            found.add(_text(fields.get(2, b"")))
    return found


def node_domains(model: bytes) -> set[str]:
    """Collect the operator domains of all nodes in a serialised ModelProto; ONNX's own is "".

    Raises:
        ValueError: not a protobuf message.
    """
    return {
        _text(dict(_length_fields(node)).get(_NODE_DOMAIN, b""))
        for node in _messages(model, "Node")
    }


def _messages(model: bytes, wanted: str) -> Iterator[memoryview]:
    """Yield every message of one kind in the model."""
    pending = [("Model", memoryview(model))]
    while pending:
        kind, message = pending.pop()
        if kind == wanted:
            yield message
        for number, value in _length_fields(message):
            if inner := _FIELDS.get(kind, {}).get(number):
                pending.append((inner, value))


def _text(value: bytes | memoryview) -> str:
    return bytes(value).decode("utf-8", errors="replace")


def _length_fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield number and contents of each length-delimited field."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        wire = tag & 7
        if wire == _LENGTH:
            length, at = _varint(message, at)
            yield tag >> 3, message[at : at + length]
            at += length
        elif wire == _VARINT:
            _, at = _varint(message, at)
        elif wire in (_FIXED64, _FIXED32):
            at += 8 if wire == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {wire}")
    if at != len(message):
        raise ValueError("a field goes past the end")


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(message) or shift > 63:
            raise ValueError("a number goes past the end")
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at += 1
        shift += 7
        if byte < 0x80:
            return value, at
