"""PyTorch module to ONNX model: packed inputs, custom operators, their function bodies."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxscript
import torch
from torch import nn
from torch.export import Dim

# Importing the modules registers the operators with PyTorch.
from mbert.model.ops import POOLING_MODES
from mbert.model.quantized import ACTIVATION_CODES
from mbert.runtime.manifest import OUTPUTS, TensorSpec

from .inputs import SYMBOLS, make_batch
from .operators import DOMAIN, OPERATOR_VERSION, OPSET, function_bodies, register_schemas

_DTYPE_NAMES = {
    ir.DataType.FLOAT: "float32",
    ir.DataType.FLOAT16: "float16",
    ir.DataType.BFLOAT16: "bfloat16",
    ir.DataType.INT32: "int32",
    ir.DataType.BOOL: "bool",
}


def trace(model: nn.Module, task: str, opset: int = OPSET) -> ir.Model:
    """Trace ``model`` with packed inputs whose sizes are symbols.

    Inputs: ``input_ids`` int32 [tokens], ``cu_seqlens`` int32 [sequences + 1] and what else the
    model takes (docs/bundle.md). The weights are referenced, not copied. mbert's operators are in
    the graph by name only; see :func:`attach_functions`.
    """
    register_schemas()
    outputs = OUTPUTS[task]
    # Of sizes that are all different, and ids that every vocabulary has.
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
    traced.opset_imports[DOMAIN] = OPERATOR_VERSION
    # The exporter notes source files and lines on every node: of no use to anyone who runs it.
    for node in traced.graph:
        node.metadata_props.clear()
        # It names values by their operators, and checks no output's name against them.
        for value in node.outputs:
            if value.name in outputs and not value.is_graph_output():
                value.name = f"{value.name}_inside"
    traced.metadata_props.clear()
    traced.graph.metadata_props.clear()
    for value in (*traced.graph.inputs, *traced.graph.outputs):
        value.metadata_props.clear()
    return traced


def attach_functions(model: ir.Model) -> None:
    """Give ``model`` the bodies of mbert's operators, for runtimes that have no kernel."""
    for body in function_bodies(operators_used(model), model.opset_imports[""]):
        function = ir.from_proto(body)
        model.functions[function.identifier()] = function


def operators_used(model: ir.Model) -> dict[str, int]:
    """Name and version of each mbert operator in the graph."""
    names = {node.op_type for node in model.graph if node.domain == DOMAIN}
    return dict.fromkeys(sorted(names), OPERATOR_VERSION)


def signature(values: list[ir.Value]) -> tuple[TensorSpec, ...]:
    """Describe the graph's inputs or outputs for the manifest."""
    specs = []
    for value in values:
        assert value.name is not None
        assert value.shape is not None
        assert value.dtype is not None
        shape = tuple(dim if isinstance(dim, int) else str(dim.value) for dim in value.shape)
        specs.append(TensorSpec(value.name, _DTYPE_NAMES[value.dtype], shape))
    return tuple(specs)


def _translations() -> dict[Any, Any]:
    """How each PyTorch operator is written as a node of mbert's domain."""
    domain = onnxscript.values.Opset(DOMAIN, OPERATOR_VERSION)

    def attention(
        qkv: Any, cu_seqlens: Any, rope: Any, num_heads: int, scale: float, window: int
    ) -> Any:
        return domain.VarlenAttention(
            qkv, cu_seqlens, rope, num_heads=num_heads, scale=scale, window=window
        )

    def pooling(hidden: Any, cu_seqlens: Any, mode: str) -> Any:
        return domain.VarlenPooling(hidden, cu_seqlens, mode=POOLING_MODES[mode])

    def linear(x: Any, weight: Any, scale: Any, bias: Any) -> Any:
        return domain.QuantizedLinear(x, weight, scale, bias)

    def residual_linear(x: Any, weight: Any, scale: Any, bias: Any, residual: Any) -> Any:
        return domain.QuantizedResidualLinear(x, weight, scale, bias, residual)

    def norm_linear(
        x: Any,
        norm_weight: Any,
        norm_bias: Any,
        weight: Any,
        scale: Any,
        bias: Any,
        epsilon: float,
    ) -> Any:
        return domain.QuantizedNormLinear(
            x, norm_weight, norm_bias, weight, scale, bias, epsilon=epsilon
        )

    def norm_gated_linear(
        x: Any,
        norm_weight: Any,
        norm_bias: Any,
        weight: Any,
        scale: Any,
        bias: Any,
        epsilon: float,
        activation: str,
    ) -> Any:
        return domain.QuantizedNormGatedLinear(
            x,
            norm_weight,
            norm_bias,
            weight,
            scale,
            bias,
            epsilon=epsilon,
            activation=ACTIVATION_CODES[activation],
        )

    operators = torch.ops.mbert
    return {
        operators.varlen_attention.default: attention,
        operators.varlen_pooling.default: pooling,
        operators.quantized_linear.default: linear,
        operators.quantized_residual_linear.default: residual_linear,
        operators.quantized_norm_linear.default: norm_linear,
        operators.quantized_norm_gated_linear.default: norm_gated_linear,
    }


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what the exporter says about packages that mbert does not use."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
