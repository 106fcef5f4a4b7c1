"""Models of a single mbert node, run by ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper

from mbert.export.operators import DOMAIN, OPERATOR_VERSION, OPSET, function_body
from mbert.plugins import onnxruntime_library

TYPES = {
    "float32": TensorProto.FLOAT,
    "float16": TensorProto.FLOAT16,
    "bfloat16": TensorProto.BFLOAT16,
}


def node_model(
    operator: str, inputs: dict[str, tuple[int, list[Any]]], output_type: int, **attributes: Any
) -> onnx.ModelProto:
    """A model whose graph is one node; ``inputs`` maps names to (element type, shape)."""
    values = [helper.make_tensor_value_info(name, *spec) for name, spec in inputs.items()]
    output = helper.make_tensor_value_info("output", output_type, None)
    node = helper.make_node(operator, list(inputs), ["output"], domain=DOMAIN, **attributes)
    return helper.make_model(
        helper.make_graph([node], operator, values, [output]),
        opset_imports=[
            helper.make_opsetid("", OPSET),
            helper.make_opsetid(DOMAIN, OPERATOR_VERSION),
        ],
        functions=[function_body(operator)],
        ir_version=10,
    )


def attention_model(
    num_heads: int, scale: float, window: int, dtype: str = "float32"
) -> onnx.ModelProto:
    kind = TYPES[dtype]
    return node_model(
        "VarlenAttention",
        {
            "qkv": (kind, ["tokens", "channels"]),
            "cu_seqlens": (TensorProto.INT32, ["offsets"]),
            "rope": (TensorProto.FLOAT, ["positions", "head_dim"]),
        },
        kind,
        num_heads=num_heads,
        scale=scale,
        window=window,
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


def run(
    loaded: ort.InferenceSession, inputs: dict[str, NDArray[Any]], dtype: str = "float32"
) -> NDArray[Any]:
    """Run with numpy arrays; those of the reduced types are given and come back as float32."""
    if dtype == "float32":
        return np.asarray(loaded.run(None, inputs)[0])
    values = {}
    for name, array in inputs.items():
        if array.dtype == np.float32 and name in ("qkv", "hidden"):
            bits = np.ascontiguousarray(reduce(array, dtype)).view(np.uint16)
            values[name] = ort.OrtValue.ortvalue_from_numpy_with_onnx_type(bits, TYPES[dtype])
        else:
            values[name] = ort.OrtValue.ortvalue_from_numpy(array)
    output = loaded.run_with_ort_values(None, values)[0]
    return np.asarray(output.numpy()).astype(np.float32)


def reduce(array: NDArray[np.float32], dtype: str) -> NDArray[Any]:
    """Round to a reduced type."""
    return array.astype(helper.tensor_dtype_to_np_dtype(TYPES[dtype]))
