"""Bundles for GPUs: real engines of TensorRT-RTX, built here, where there is no GPU to run them."""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from safetensors.torch import load_file, save_file
from sentence_transformers.sentence_transformer import modules

import mbert
from mbert.errors import ExportError
from mbert.export.precisions.fp16 import GpuFloat16
from mbert.runtime.backends.cuda import Device
from mbert.runtime.backends.onnxruntime import OnnxRuntimeSession
from mbert.runtime.backends.tensorrt.build_process import BuildReport
from mbert.runtime.bundle import Bundle, open_bundle
from mbert.runtime.manifest_reader import read_manifest
from support.checkpoints import SMALL, make_checkpoint
from support.export_cache import ExportCache
from support.exports import listed
from support.sentence import save_sentence_transformer
from support.thinning import thinned

placement_module: Any = importlib.import_module("mbert.export.placement")
runtimes_module: Any = importlib.import_module("mbert.export.verify.runtimes")

AHEAD_OF_TIME = {
    "t4": "7.5",
    "rtx3090": "8.6",
    "a10": "8.6",
    "a100": "8.0",
    "l4": "8.9",
    "rtx4090": "8.9",
    "rtx5090": "12.0",
}
LAYERS = 2


@pytest.fixture(scope="module")
def l4(checkpoint: Path, exports: ExportCache) -> Path:
    return exports(checkpoint, gpu="l4")


@pytest.mark.parametrize("gpu", thinned([name for name in AHEAD_OF_TIME if name != "l4"], ["t4"]))
def test_an_engine_is_built_for_every_target(
    checkpoint: Path, tmp_path: Path, small_batch: None, gpu: str
) -> None:
    manifest = mbert.convert(checkpoint, tmp_path / "bundle", gpu=gpu, max_tokens=1024)
    engine = manifest.engine
    assert engine is not None
    assert (manifest.target, manifest.backend) == (gpu, "tensorrt-rtx")
    assert engine.compute_capability == AHEAD_OF_TIME[gpu]
    assert engine.file == f"engines/tensorrt-rtx-{gpu}.engine"
    assert engine.builder is not None
    assert engine.builder.startswith("tensorrt-rtx ")
    assert engine.file in manifest.files


def test_the_engine_holds_the_weights(l4: Path) -> None:
    manifest = read_manifest(l4)
    assert manifest.engine is not None
    assert manifest.engine.file is not None
    model = onnx.load(l4 / "model.onnx")
    weights = sum(
        2 * np.prod(tensor.dims)
        for tensor in model.graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT16
    )
    assert manifest.files[manifest.engine.file].size >= 0.95 * weights > 100_000


def test_the_manifest_says_what_was_built(l4: Path) -> None:
    manifest = read_manifest(l4)
    engine = manifest.engine
    assert engine is not None
    assert manifest.precision == "fp16"
    assert [profile.name for profile in engine.profiles] == ["latency", "length-256", "length-1024"]
    assert len(engine.activation_bytes) == len(engine.profiles)
    assert min(engine.activation_bytes) > 0
    assert [spec.name for spec in manifest.inputs] == [
        "input_ids",
        "mask_positions",
        "positions",
        "pad_index",
        "unpad_index",
        "key_mask",
    ]
    assert manifest.outputs[0].dtype == "float16"
    assert manifest.operators == {}
    assert open_bundle(l4).manifest == manifest


def test_the_compiled_graph_is_verified_in_its_precision(l4: Path) -> None:
    record = read_manifest(l4).verification
    (checks,) = record["checks"].values()
    judged = record["outputs"]["logits"]
    assert record["precision"] == "fp16"
    # At most twice what PyTorch errs in float16; the floor of float32 does not apply.
    assert judged["tolerance"] == 2 * judged["pytorch_error"] > 1e-4
    assert 0 < checks["logits"]["max_abs_error"] <= judged["tolerance"]


def test_the_calibration_is_recorded(l4: Path) -> None:
    calibration = read_manifest(l4).calibration
    assert calibration is not None
    assert calibration["text"] == "the built-in sample"
    assert calibration["maxima"]["model.layers.1.mlp.Wi"] > 0


def test_an_engine_whose_attention_is_not_fused_is_refused(
    checkpoint: Path, tmp_path: Path, small_batch: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = BuildReport("tensorrt-rtx 9.9", (1, 1, 1), (2, 2, 1), None)
    engine_module: Any = importlib.import_module("mbert.export.engine")
    monkeypatch.setattr(engine_module.LIBRARIES["tensorrt-rtx"], "build", lambda *arguments: report)
    with pytest.raises(ExportError, match=r"9\.9 fused the attention of \(2, 2, 1\) layers"):
        mbert.convert(checkpoint, tmp_path / "bundle", gpu="l4", backend="tensorrt-rtx")
    assert listed(tmp_path) == []


@pytest.mark.thorough
def test_activations_are_linear_in_the_tokens(tmp_path: Path, small_batch: None) -> None:
    checkpoint = make_checkpoint(
        tmp_path / "long", "feature-extraction", num_hidden_layers=2, max_position_embeddings=8192
    )
    largest = {}
    for tokens in (2048, 8192):
        manifest = mbert.convert(checkpoint, tmp_path / str(tokens), gpu="l4", max_tokens=tokens)
        assert manifest.engine is not None
        assert manifest.limits.max_sequence_length == tokens
        largest[tokens] = max(manifest.engine.activation_bytes)
    assert largest[8192] <= 4.1 * largest[2048]


def test_a_model_that_pools_keeps_its_offsets(
    classifier: Path, tmp_path: Path, small_batch: None
) -> None:
    manifest = mbert.convert(classifier, tmp_path / "bundle", gpu="rtx4090", max_tokens=1024)
    assert "cu_seqlens" in [spec.name for spec in manifest.inputs]
    assert manifest.outputs[0].shape == ("sequences", 3)


def test_a_pooling_that_leaves_the_prompt_out_is_compiled(
    tmp_path: Path, small_batch: None
) -> None:
    """In every mode that needs no loop; verified on the CPU, fed as the engine is."""
    modes = ["cls", "mean", "mean_sqrt_len_tokens", "lasttoken", "weightedmean"]
    steps = (
        modules.Pooling(SMALL["hidden_size"], modes, include_prompt=False),
        modules.Dense(len(modes) * SMALL["hidden_size"], 16),
        modules.Normalize(),
    )
    checkpoint = save_sentence_transformer(tmp_path / "folder", *steps)
    manifest = mbert.convert(checkpoint, tmp_path / "bundle", gpu="rtx4090", max_tokens=1024)
    assert (manifest.task, manifest.backend) == ("sentence-similarity", "tensorrt-rtx")
    names = {spec.name for spec in manifest.inputs}
    assert {"counted_rows", "counted_offsets", "cu_seqlens"} <= names
    assert manifest.engine is not None
    assert manifest.engine.file is not None


def test_bfloat16_is_verified_in_float32_and_says_so(
    checkpoint: Path, tmp_path: Path, small_batch: None
) -> None:
    manifest = mbert.convert(
        checkpoint, tmp_path / "bundle", gpu="a100", precision="bf16", max_tokens=1024
    )
    record = manifest.verification
    assert manifest.precision == "bf16"
    assert manifest.outputs[0].dtype == "bfloat16"
    assert record["precision"] == "fp32"
    error = record["bf16"]["pytorch_error"]["logits"]
    assert error > 10 * record["outputs"]["logits"]["tolerance"]
    model = onnx.load(tmp_path / "bundle" / "model.onnx", load_external_data=False)
    types = {tensor.data_type for tensor in model.graph.initializer if len(tensor.dims) == 2}
    assert onnx.TensorProto.BFLOAT16 in types
    assert onnx.TensorProto.FLOAT16 not in types


def test_float16_that_would_overflow_fails_with_the_layers_name(
    tmp_path: Path, small_batch: None
) -> None:
    checkpoint = make_checkpoint(tmp_path / "hot", num_hidden_layers=2)
    _scale(checkpoint, "model.layers.1.mlp.Wi.weight", 3e3)
    with pytest.raises(ExportError, match=r"model\.layers\.1\..*--precision bf16"):
        mbert.convert(checkpoint, tmp_path / "bundle", gpu="l4", precision="fp16")
    assert listed(tmp_path) == ["hot"]
    told: list[str] = []
    manifest = mbert.convert(checkpoint, tmp_path / "bundle", gpu="h100", tell=told.append)
    assert manifest.precision == "bf16"
    assert any("model.layers.1." in sentence for sentence in told)


def test_an_overflow_that_the_text_did_not_show_is_refused(
    checkpoint: Path, tmp_path: Path, small_batch: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With infinite values of PyTorch's own as the yardstick, anything would pass."""
    monkeypatch.setattr(GpuFloat16, "overflow", lambda *arguments: None)
    hot = Path(shutil.copytree(checkpoint, tmp_path / "hot"))
    _scale(hot, "model.layers.1.mlp.Wi.weight", 3e3)
    with pytest.raises(ExportError, match="In fp16 the model overflows"):
        mbert.convert(hot, tmp_path / "bundle", gpu="h100")
    assert listed(tmp_path) == ["hot"]


@pytest.mark.parametrize("bias", [0.0, 0.5])
def test_where_such_a_gpu_is_the_bundle_is_run_on_it(
    checkpoint: Path,
    tmp_path: Path,
    small_batch: None,
    monkeypatch: pytest.MonkeyPatch,
    bias: float,
) -> None:
    """ONNX Runtime on the CPU stands for the GPU, which may be right or wrong."""

    class Session:
        def __init__(self, bundle: Bundle, **arguments: Any) -> None:
            assert arguments["device"] == "cuda:3"
            self._session = OnnxRuntimeSession(bundle.model)

        def run(self, batch: Any) -> list[Any]:
            return [output + bias for output in self._session.run(batch)]

    device = Device(3, "NVIDIA A10", "8.6")
    monkeypatch.setattr(placement_module, "local_devices", lambda: (device,))
    monkeypatch.setattr(runtimes_module, "open_session", Session)
    arguments = {"gpu": "a10", "backend": "onnxruntime"}
    if bias:
        with pytest.raises(ExportError, match="run with onnxruntime, logits differs from PyTorch"):
            mbert.convert(checkpoint, tmp_path / "bundle", **arguments)
        assert listed(tmp_path) == []
    else:
        manifest = mbert.convert(checkpoint, tmp_path / "bundle", **arguments)
        (check,) = manifest.verification["gpu"]["checks"]["onnxruntime"].values()
        assert check["max_abs_error"] > 0


@pytest.mark.parametrize("precision", thinned(["fp16", "bf16", "fp32"], ["fp16"]))
def test_h100_gets_its_engine_at_first_load(
    checkpoint: Path, tmp_path: Path, small_batch: None, precision: str
) -> None:
    told: list[str] = []
    manifest = mbert.convert(
        checkpoint, tmp_path / "bundle", gpu="h100", precision=precision, tell=told.append
    )
    engine = manifest.engine
    assert engine is not None
    assert (manifest.backend, engine.file, engine.builder) == ("tensorrt", None, None)
    assert [profile.name for profile in engine.profiles] == ["latency", "throughput"]
    assert "built when the bundle is first loaded" in told[0]
    assert manifest.operators == {"VarlenAttention": 1}
    model = onnx.load(tmp_path / "bundle" / "model.onnx", load_external_data=False)
    assert not model.functions  # else TensorRT might take them instead of its plugin
    nodes = [node for node in model.graph.node if node.domain == "mbert"]
    assert len(nodes) == LAYERS
    for node in nodes:
        attributes = {entry.name: entry.s for entry in node.attribute}
        assert attributes["plugin_namespace"] == b"mbert"
        assert attributes["plugin_version"] == b"1"


def test_onnxruntime_on_a_gpu_has_the_operators_and_their_functions(
    checkpoint: Path, tmp_path: Path, small_batch: None
) -> None:
    manifest = mbert.convert(checkpoint, tmp_path / "bundle", gpu="a10", backend="onnxruntime")
    assert manifest.engine is None
    assert manifest.precision == "fp16"
    assert set(manifest.verification["checks"]) == {"plugin", "functions"}


@pytest.mark.parametrize(
    ("arguments", "limits"),
    [
        ({"max_tokens": 512}, (512, 512)),
        ({"max_tokens": 256, "max_sequence_length": 128}, (256, 128)),
    ],
)
def test_limits_are_the_users(
    checkpoint: Path,
    tmp_path: Path,
    small_batch: None,
    arguments: dict[str, Any],
    limits: tuple[int, int],
) -> None:
    mbert.convert(checkpoint, tmp_path / "bundle", gpu="h100", **arguments)
    found = json.loads((tmp_path / "bundle" / "manifest.json").read_text())["limits"]
    assert (found["max_tokens"], found["max_sequence_length"]) == limits


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_sequence_length": 2048}, "takes up to 1024 tokens"),
        ({"max_tokens": 64, "max_sequence_length": 128}, "less than one sequence of 128"),
        ({"max_tokens": 0}, "expected at least 1"),
    ],
)
def test_limits_that_make_no_sense_are_refused(
    checkpoint: Path, tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ExportError, match=message):
        mbert.convert(checkpoint, tmp_path / "bundle", gpu="h100", **arguments)
    assert listed(tmp_path) == []


def _scale(checkpoint: Path, name: str, factor: float) -> None:
    stored = load_file(checkpoint / "model.safetensors")
    stored[name] *= factor
    save_file(stored, checkpoint / "model.safetensors", metadata={"format": "pt"})
