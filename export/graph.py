"""The ONNX model of a bundle, in the form that its backend takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir
from torch import nn

from mbert.plugins.operators import DOMAIN, OPERATORS
from mbert.runtime.bundle import MODEL, MODEL_DATA
from mbert.runtime.manifest import TensorSpec

from . import operators, padded
from .placement import Placement
from .precisions import Precision
from .trace import attach_functions, operators_used, signature, trace

# The first opset with Gelu as one operator: in parts it would round three times in half precision.
_GPU_OPSET = 20


@dataclass(frozen=True)
class Graph:
    """The manifest's entries for a graph."""

    operators: dict[str, int]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


def write_graph(
    model: nn.Module, task: str, placement: Placement, precision: Precision, folder: Path
) -> Graph:
    """Trace ``model`` and write it to ``folder``, replacing an older graph."""
    opset, finish = _form(placement)
    traced = trace(model, task, opset)
    finish(traced)
    precision.finish_graph(traced, placement.backend)
    ir.save(traced, folder / MODEL, external_data=MODEL_DATA)
    return Graph(
        operators_used(traced), signature(traced.graph.inputs), signature(traced.graph.outputs)
    )


def _form(placement: Placement) -> tuple[int, Callable[[ir.Model], None]]:
    """Return the opset to trace with, and the function that adapts the graph."""
    if placement.backend == "tensorrt-rtx":
        return padded.OPSET, padded.to_padded
    if placement.backend == "tensorrt":
        return _GPU_OPSET, _address_plugins
    return (_GPU_OPSET if placement.target else operators.OPSET), attach_functions


def _address_plugins(model: ir.Model) -> None:
    """Name the plugins for TensorRT's parser.

    Function bodies are not attached: the parser might prefer them.
    """
    for node in model.graph:
        if node.domain == DOMAIN:
            node.attributes["plugin_namespace"] = ir.AttrString("plugin_namespace", DOMAIN)
            version = str(OPERATORS[node.op_type].version)
            node.attributes["plugin_version"] = ir.AttrString("plugin_version", version)
