"""Models of one mbert node, run by ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper

from mbert.export.operators import OPSET, function_bodies
from mbert.plugins import onnxruntime_library
from mbert.plugins.operators import DOMAIN, DOMAIN_VERSION

TYPES = {
    "float32": TensorProto.FLOAT,
    "float16": TensorProto.FLOAT16,
    "bfloat16": TensorProto.BFLOAT16,
}


def node_model(
    operator: str, inputs: dict[str, tuple[int, list[Any]]], dtype: str, **attributes: Any
) -> onnx.ModelProto:
    """Make a model of one node with floats of type ``dtype``.

    ``inputs`` maps names to (element type, shape). numpy lacks some of the types: the model's first
    input and its output are float32, and cast inside.
    """
    values = [helper.make_tensor_value_info(name, *spec) for name, spec in inputs.items()]
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, None)
    first, *rest = inputs
    nodes = [
        helper.make_node("Cast", [first], ["reduced"], to=TYPES[dtype]),
        helper.make_node(operator, ["reduced", *rest], ["result"], domain=DOMAIN, **attributes),
        helper.make_node("Cast", ["result"], ["output"], to=TensorProto.FLOAT),
    ]
    return helper.make_model(
        helper.make_graph(nodes, operator, values, [output]),
        opset_imports=[
            helper.make_opsetid("", OPSET),
            helper.make_opsetid(DOMAIN, DOMAIN_VERSION),
        ],
        functions=function_bodies([operator]),
        ir_version=10,
    )


def attention_model(
    num_heads: int, scale: float, window: int, dtype: str = "float32"
) -> onnx.ModelProto:
    return node_model(
        "VarlenAttention",
        {
            "qkv": (TensorProto.FLOAT, ["tokens", "channels"]),
            "cu_seqlens": (TensorProto.INT32, ["offsets"]),
            "rope": (TensorProto.FLOAT, ["positions", "head_dim"]),
        },
        dtype,
        num_heads=num_heads,
        scale=scale,
        window=window,
    )


def pooling_model(mode: int, dtype: str = "float32") -> onnx.ModelProto:
    return node_model(
        "VarlenPooling",
        {
            "hidden": (TensorProto.FLOAT, ["tokens", "channels"]),
            "cu_seqlens": (TensorProto.INT32, ["offsets"]),
        },
        dtype,
        mode=mode,
    )


def session(model: onnx.ModelProto, plugin: bool = True, threads: int = 2) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    if plugin:
        options.register_custom_ops_library(str(onnxruntime_library()))
    return ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def run(loaded: ort.InferenceSession, inputs: dict[str, NDArray[Any]]) -> NDArray[Any]:
    return np.asarray(loaded.run(None, inputs)[0])


def reduce(array: NDArray[np.float32], dtype: str) -> NDArray[Any]:
    """Round to a reduced type."""
    return array.astype(helper.tensor_dtype_to_np_dtype(TYPES[dtype]))
