"""Trace a PyTorch module to an ONNX model with packed inputs and custom operators."""

from __future__ import annotations

import inspect
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxscript
import torch
from torch import nn
from torch.export import Dim

# Importing the package registers the operators with PyTorch.
import mbert.model.operators  # noqa: F401
from mbert.plugins.operators import DOMAIN, DOMAIN_VERSION, OPERATORS, Operator
from mbert.runtime.manifest import TensorSpec
from mbert.runtime.tasks import TASKS

from .inputs import SYMBOLS, make_batch
from .operators import OPSET, function_bodies, register_schemas

_DTYPE_NAMES = {
    ir.DataType.FLOAT: "float32",
    ir.DataType.FLOAT16: "float16",
    ir.DataType.BFLOAT16: "bfloat16",
    ir.DataType.INT32: "int32",
    ir.DataType.BOOL: "bool",
}

# Of attributes, as the exporter expects them in annotations.
_PYTHON_TYPES = {"int": int, "float": float}


def trace(model: nn.Module, task: str, opset: int = OPSET) -> ir.Model:
    """Trace ``model`` with packed inputs whose sizes are symbols.

    Inputs: ``input_ids`` int32 [tokens], ``cu_seqlens`` int32 [sequences + 1] and the model's
    extra inputs (docs/bundle.md). The weights are referenced, not copied. The graph contains
    mbert's operators without function bodies; see :func:`attach_functions`.
    """
    register_schemas()
    outputs = TASKS[task].outputs
    # All sizes differ, and every vocabulary has the ids.
    batch = make_batch(model, (3, 4), 2, np.random.default_rng(0))
    example = {name: torch.from_numpy(array) for name, array in batch.items()}
    sizes: dict[str, Any] = {size: Dim(size) for size in SYMBOLS.values() if size.isidentifier()}
    sizes["sequences + 1"] = Dim("sequences") + 1
    dimensions = {name: {0: sizes[SYMBOLS[name]]} for name in batch}
    with _quiet():
        program = torch.onnx.export(
            model,
            kwargs=example,
            dynamo=True,
            dynamic_shapes=dimensions,
            input_names=list(example),
            output_names=list(outputs),
            opset_version=opset,
            custom_translation_table=_translations(),
            verbose=False,
        )
    assert program is not None
    traced = program.model
    traced.producer_name, traced.producer_version = "mbert", None
    traced.graph.name = task
    # The exporter does not name a size that it derives (sequences, from sequences + 1).
    for output, rows in zip(traced.graph.outputs, outputs.values(), strict=True):
        assert output.shape is not None
        output.shape[0] = rows
    traced.opset_imports[DOMAIN] = DOMAIN_VERSION
    # The exporter notes source files and lines on every node, which nobody needs to run it.
    for node in traced.graph:
        node.metadata_props.clear()
        # The exporter names values after operators; a name may collide with an output's.
        for value in node.outputs:
            if value.name in outputs and not value.is_graph_output():
                value.name = f"{value.name}_inside"
    traced.metadata_props.clear()
    traced.graph.metadata_props.clear()
    for value in (*traced.graph.inputs, *traced.graph.outputs):
        value.metadata_props.clear()
    return traced


def attach_functions(model: ir.Model) -> None:
    """Attach function bodies of mbert's operators, for runtimes without kernels."""
    for body in function_bodies(operators_used(model), model.opset_imports[""]):
        function = ir.from_proto(body)
        model.functions[function.identifier()] = function


def operators_used(model: ir.Model) -> dict[str, int]:
    """Return name and version of each mbert operator in the graph."""
    names = {node.op_type for node in model.graph if node.domain == DOMAIN}
    return {name: OPERATORS[name].version for name in sorted(names)}


def signature(values: list[ir.Value]) -> tuple[TensorSpec, ...]:
    """Return the manifest's description of the graph's inputs or outputs."""
    specs = []
    for value in values:
        assert value.name is not None
        assert value.shape is not None
        assert value.dtype is not None
        shape = tuple(dim if isinstance(dim, int) else str(dim.value) for dim in value.shape)
        specs.append(TensorSpec(value.name, _DTYPE_NAMES[value.dtype], shape))
    return tuple(specs)


def _translations() -> dict[Any, Any]:
    """Map each PyTorch operator to a function that writes its ONNX node."""
    domain = onnxscript.values.Opset(DOMAIN, DOMAIN_VERSION)
    return {
        getattr(torch.ops.mbert, operator.torch_name).default: _translation(
            getattr(domain, operator.name), operator
        )
        for operator in OPERATORS.values()
    }


def _translation(node: Callable[..., Any], operator: Operator) -> Callable[..., Any]:
    """Make tensors inputs of the node, and other arguments attributes."""
    types = {tensor.name: Any for tensor in operator.inputs} | {
        attribute.name: str if attribute.codes else _PYTHON_TYPES[attribute.type]
        for attribute in operator.attributes
    }
    anywhere = inspect.Parameter.POSITIONAL_OR_KEYWORD
    signature = inspect.Signature([inspect.Parameter(name, anywhere) for name in types])
    codes = {attribute.name: attribute.codes for attribute in operator.attributes}

    def translated(*args: Any, **kwargs: Any) -> Any:
        values = signature.bind(*args, **kwargs).arguments
        inputs = [values.pop(tensor.name) for tensor in operator.inputs]
        attributes = {
            name: known[value] if (known := codes[name]) else value
            for name, value in values.items()
        }
        return node(*inputs, **attributes)

    # The exporter takes arguments annotated as int, float or str for attributes.
    translated.__signature__ = signature  # type: ignore[attr-defined]
    translated.__annotations__ = types
    return translated


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's warnings about packages that mbert does not use."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
