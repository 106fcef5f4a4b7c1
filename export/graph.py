"""The ONNX model of a bundle, in the form that its backend takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir
from torch import nn

from mbert.runtime.bundle import MODEL, MODEL_DATA
from mbert.runtime.manifest import TensorSpec

from . import operators, padded
from .choice import Choice
from .trace import attach_functions, operators_used, signature, trace

# The first opset with Gelu as one operator, which half precision needs: in parts it rounds thrice.
_GPU_OPSET = 20


@dataclass(frozen=True)
class Graph:
    """What a manifest says of a graph."""

    operators: dict[str, int]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


def write_graph(model: nn.Module, task: str, choice: Choice, folder: Path) -> Graph:
    """Trace ``model`` and write it to ``folder``, replacing what is there."""
    opset, finish = _form(choice)
    traced = trace(model, task, opset)
    finish(traced)
    ir.save(traced, folder / MODEL, external_data=MODEL_DATA)
    return Graph(
        operators_used(traced), signature(traced.graph.inputs), signature(traced.graph.outputs)
    )


def _form(choice: Choice) -> tuple[int, Callable[[ir.Model], None]]:
    """The opset to trace with, and what is then made of the graph."""
    if choice.backend == "tensorrt-rtx":
        return padded.OPSET, padded.to_padded
    if choice.backend == "tensorrt":
        return _GPU_OPSET, _address_plugins
    if choice.target is not None:
        return _GPU_OPSET, _finish_for_cuda
    return operators.OPSET, attach_functions


def _address_plugins(model: ir.Model) -> None:
    """Tell TensorRT's parser where its plugins are. It gets no bodies: it might prefer them."""
    for node in model.graph:
        if node.domain == operators.DOMAIN:
            node.attributes["plugin_namespace"] = ir.AttrString(
                "plugin_namespace", operators.DOMAIN
            )
            node.attributes["plugin_version"] = ir.AttrString(
                "plugin_version", str(operators.OPERATOR_VERSION)
            )


def _finish_for_cuda(model: ir.Model) -> None:
    """Attach the bodies, and give bfloat16 back as float32: numpy has no such type."""
    attach_functions(model)
    for i, output in enumerate(list(model.graph.outputs)):
        if output.dtype != ir.DataType.BFLOAT16:
            continue
        node = ir.node("Cast", [output], {"to": ir.DataType.FLOAT.value})
        node.outputs[0].name, output.name = output.name, f"{output.name}_reduced"
        node.outputs[0].shape = output.shape
        node.outputs[0].dtype = ir.DataType.FLOAT
        model.graph.append(node)
        model.graph.outputs[i] = node.outputs[0]
