"""The graph without mbert's operators: as exact as PyTorch, fed as an engine is."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from mbert.errors import ExportError
from mbert.export.padded import OPSET, to_padded, tokens_multiple
from mbert.plugins.operators import POOLING_MODES
from mbert.runtime.backends.tensorrt.calls import Call, compute
from mbert.runtime.backends.tensorrt.profiles import profiles_for
from mbert.runtime.manifest import Engine, Limits, TensorSpec
from support.attention import Judgement, judge
from support.cases import CASES, Case
from support.onnx_nodes import attention_model, pooling_model, reduce, run
from support.pooling import POOLINGS, assert_pooled, pooling_inputs

SYMBOLS = {"tokens", "groups", "length"}
INPUTS = (
    TensorSpec("positions", "int32", ("tokens",)),
    TensorSpec("pad_index", "int32", ("groups", "length")),
    TensorSpec("unpad_index", "int32", ("tokens",)),
    TensorSpec("key_mask", "bool", ("groups", 1, 1, "length")),
)


def padded_model(case: Case, dtype: str) -> onnx.ModelProto:
    model = ir.from_proto(attention_model(case.num_heads, case.scale, case.window, dtype))
    model.opset_imports[""] = OPSET
    to_padded(model)
    return ir.to_proto(model)


def attend(
    case: Case, inputs: dict[str, NDArray], dtype: str = "float32", max_tokens: int = 2048
) -> NDArray:
    """Run the cases' single layer in calls, as the engine of such a graph is run."""
    limits = Limits(max_tokens, max_sequence_length=min(1024, max_tokens), max_sequences=64)
    multiple = tokens_multiple([case.window])
    engine = Engine(None, "8.9", None, profiles_for(SYMBOLS, limits, multiple), (), multiple)
    # Without a plugin registered: a node of mbert's domain would not load.
    loaded = ort.InferenceSession(
        padded_model(case, dtype).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    wanted = {entry.name for entry in loaded.get_inputs()}

    def one(call: Call) -> list[NDArray]:
        qkv = np.zeros((call.sizes["tokens"], inputs["qkv"].shape[1]), np.float32)
        rows = call.rows_of(output)
        qkv[: rows.size] = inputs["qkv"][rows]
        feeds = {"qkv": qkv, "rope": inputs["rope"], **call.feeds}
        return [run(loaded, {name: feeds[name] for name in wanted})]

    batch = {
        "input_ids": np.zeros(inputs["qkv"].shape[0], np.int32),
        "cu_seqlens": inputs["cu_seqlens"],
    }
    output = TensorSpec("context", "float32", ("tokens", case.num_heads * case.head_dim))
    return compute(batch, engine, INPUTS, [output], one)[0]


@pytest.mark.parametrize("case", [case for case in CASES if case.lengths], ids=lambda case: case.id)
def test_attention_is_as_exact_as_pytorch(case: Case) -> None:
    inputs = case.inputs()
    judge(case, inputs).check(attend(case, inputs))


@pytest.mark.parametrize("window", [-1, 64])
@pytest.mark.parametrize("head_dim", [32, 64, 128])
def test_float16_errs_like_pytorch(head_dim: int, window: int) -> None:
    """Twice PyTorch's error; in windowed layers thrice.

    ONNX Runtime's Attention rounds the steps of its softmax to float16, which compiled kernels do
    not; whole models are within twice (test_gpu_bundles.py).
    """
    case = Case((130, 0, 1, 257), slack=5, num_heads=3, head_dim=head_dim, window=window)
    inputs = case.inputs()
    inputs["qkv"] = reduce(inputs["qkv"], "float16").astype(np.float32)
    judged = judge(case, inputs, "float16")
    allowed = judged.tolerance * (1.5 if window >= 0 else 1)
    Judgement(judged.exact, allowed).check(attend(case, inputs, "float16"))


@pytest.mark.parametrize("window", [-1, 64])
def test_a_batch_in_several_calls_is_the_same(window: int) -> None:
    case = Case((130, 64, 1, 200, 40, 0, 7), window=window)
    inputs = case.inputs()
    judge(case, inputs).check(attend(case, inputs, max_tokens=256))


@pytest.mark.parametrize(
    ("windows", "multiple"),
    [([-1], 64), ([-1, 0], 64), ([64], 64), ([65], 128), ([64, 200], 256), ([100, 192], 384)],
)
def test_tokens_fill_the_blocks_of_every_layer(windows: list[int], multiple: int) -> None:
    assert tokens_multiple(windows) == multiple


def test_inputs_are_those_that_the_layers_need() -> None:
    def names(window: int) -> list[str]:
        graph = padded_model(Case((1,), window=window), "float16").graph
        return [entry.name for entry in graph.input]

    assert names(-1) == ["qkv", "rope", "positions", "pad_index", "unpad_index", "key_mask"]
    assert names(64) == ["qkv", "rope", "positions"]


@pytest.mark.parametrize("mode", POOLINGS)
def test_pooling_has_no_loop(mode: str) -> None:
    model = ir.from_proto(pooling_model(POOLING_MODES[mode], "float16"))
    model.opset_imports[""] = OPSET
    if mode == "max":
        with pytest.raises(ExportError, match="pools by max"):
            to_padded(model)
        return
    to_padded(model)
    assert not {"If", "Loop"} & {node.op_type for node in model.graph}
    inputs = pooling_inputs((5, 0, 70), 3)
    inputs["hidden"] = reduce(inputs["hidden"], "float16").astype(np.float32)
    loaded = ort.InferenceSession(
        ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    assert_pooled(inputs, run(loaded, inputs), mode, "float16")


def test_only_standard_operators_are_left() -> None:
    model = padded_model(Case((1,)), "float16")
    onnx.checker.check_model(model, full_check=True)
    assert {node.domain for node in model.graph.node} == {""}
    assert not model.functions
    assert {entry.domain for entry in model.opset_import} == {""}
