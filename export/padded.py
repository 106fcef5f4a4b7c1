"""The graph for engines without plugins: attention in standard operators.

Global layers attend to each sequence as a group, padded to the longest of the call. Windowed layers
attend to blocks of packed tokens. So padding costs time in global attention only. The packer passes
indices and masks as inputs: deriving them from ``cu_seqlens`` needs data-dependent shapes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import onnx_ir as ir
import onnx_ir.passes.common as passes
import onnxscript.optimizer
from onnx_ir import DataType

from mbert.errors import ExportError
from mbert.plugins.operators import DOMAIN, POOLING_MODES
from mbert.runtime.backends.tensorrt.profiles import round_up

from .operators import function_body, padded_functions

# The first opset with Attention.
OPSET = 23
_DOMAIN = "mbert.padded"
_LEAST_BLOCK = 64


def tokens_multiple(windows: Sequence[int]) -> int:
    """Return the number that the tokens of a call are a multiple of.

    ``windows`` has one entry for each layer; -1: global.

    A block is at least as wide as its layer's window.
    """
    return math.lcm(_LEAST_BLOCK, *(_block(window) for window in windows if window >= 0))


def _block(window: int) -> int:
    return round_up(max(window, 1), _LEAST_BLOCK)


def to_padded(model: ir.Model) -> None:
    """Replace mbert's operators in ``model`` by standard ones, and its inputs.

    ``cu_seqlens`` stays where sequences are pooled; new are ``positions`` int32 [tokens],
    ``pad_index`` int32 [groups, length], ``unpad_index`` int32 [tokens] and ``key_mask`` bool
    [groups, 1, 1, length] (docs/engines.md).

    Raises:
        ExportError: the model pools by max, which needs a loop.
    """
    graph = model.graph
    inputs = {
        "positions": _input("positions", DataType.INT32, "tokens"),
        "pad_index": _input("pad_index", DataType.INT32, "groups", "length"),
        "unpad_index": _input("unpad_index", DataType.INT32, "tokens"),
        "key_mask": _input("key_mask", DataType.BOOL, "groups", 1, 1, "length"),
    }
    writer = _Writer(graph, inputs)
    for node in list(graph):
        if node.domain == DOMAIN and node.op_type == "VarlenAttention":
            writer.replace(node)
        elif (
            node.op_type == "VarlenPooling"
            and node.attributes["mode"].as_int() == POOLING_MODES["max"]
        ):
            raise ExportError(
                "The model pools by max, which takes a loop over the sequences in standard "
                "operators; TensorRT-RTX runs nothing else. Use --backend tensorrt or onnxruntime."
            )
    graph.inputs.extend(inputs.values())
    model.functions.clear()
    bodies = [*padded_functions(), function_body("VarlenPooling", OPSET)]
    for body in bodies:
        function = ir.from_proto(body)
        model.functions[function.identifier()] = function
    model.opset_imports[_DOMAIN] = 1
    passes.InlinePass()(model)
    for domain in (DOMAIN, _DOMAIN):
        model.opset_imports.pop(domain, None)
    # Shapes that come from attributes become constants.
    onnxscript.optimizer.optimize(model)
    for value in [value for value in graph.inputs if not value.uses()]:
        graph.inputs.remove(value)


class _Writer:
    """Writes the calls that replace an operator; shared calls are written once."""

    def __init__(self, graph: ir.Graph, inputs: dict[str, ir.Value]) -> None:
        self._graph = graph
        self._inputs = inputs
        self._first = next(iter(graph))
        self._rope_rows: dict[ir.Value, Sequence[ir.Value]] = {}
        self._masks: dict[int, Sequence[ir.Value]] = {}

    def replace(self, node: ir.Node) -> None:
        """Replace a VarlenAttention node by padded or block attention."""
        qkv, _, rope = node.inputs
        assert qkv is not None
        assert rope is not None
        window = node.attributes["window"].as_int()
        scale = node.attributes["scale"].as_float()
        heads = node.attributes["num_heads"].as_int()
        if rope not in self._rope_rows:
            self._rope_rows[rope] = self._call(
                self._first, "RopeRows", [rope, self._inputs["positions"]], outputs=2
            )
        rows = self._rope_rows[rope]
        qkv_heads = self._call(node, "RotatedHeads", [qkv, *rows], outputs=3, num_heads=heads)
        if window < 0:
            where = [self._inputs[name] for name in ("pad_index", "unpad_index", "key_mask")]
            (context,) = self._call(node, "PaddedAttention", [*qkv_heads, *where], scale=scale)
        else:
            (context,) = self._call(
                node,
                "BlockAttention",
                [*qkv_heads, *self._mask(window)],
                scale=scale,
                block=_block(window),
            )
        context.shape, context.type = node.outputs[0].shape, node.outputs[0].type
        ir.convenience.replace_all_uses_with(node.outputs[0], context)
        self._graph.remove(node, safe=True)

    def _mask(self, window: int) -> Sequence[ir.Value]:
        if window not in self._masks:
            self._masks[window] = self._call(
                self._first,
                "BlockMask",
                [self._inputs["positions"]],
                outputs=2,
                window=window,
                block=_block(window),
            )
        return self._masks[window]

    def _call(
        self,
        before: ir.Node,
        function: str,
        inputs: Sequence[ir.Value],
        outputs: int = 1,
        **attributes: int | float,
    ) -> Sequence[ir.Value]:
        node = ir.node(function, inputs, attributes, domain=_DOMAIN, num_outputs=outputs)
        self._graph.insert_before(before, node)
        return list(node.outputs)


def _input(name: str, dtype: DataType, *shape: int | str) -> ir.Value:
    return ir.val(name, dtype=dtype, shape=shape)
