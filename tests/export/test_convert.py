"""Contents of a bundle, obstacles at the destination, and exports that are refused."""

from __future__ import annotations

import copy
import importlib
import json
import os
import re
import shutil
import stat
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NoReturn

import onnx
import onnx_ir as ir
import pytest
import torch
from safetensors.torch import load_file, save_file

import mbert
from mbert.errors import CheckpointError, ExportError, MbertError
from mbert.runtime.bundle import file_sha256, open_bundle
from mbert.runtime.manifest_reader import read_manifest
from mbert.runtime.tasks import TASKS as RUNTIME_TASKS
from support.checkpoints import make_checkpoint
from support.exports import STEPS, contents, listed, read_only
from support.text import CLS, MASK, PAD, SEP, UNK

pipeline_module: Any = importlib.import_module("mbert.export.pipeline")
graph_module: Any = importlib.import_module("mbert.export.graph")
trace_module: Any = importlib.import_module("mbert.export.trace")
operators_module: Any = importlib.import_module("mbert.export.operators")

TASKS = ("feature-extraction", "fill-mask", "text-classification", "question-answering")


# ---- contents


def test_the_default_task_is_the_checkpoints_own(
    checkpoint: Path, tmp_path: Path, quick: None
) -> None:
    manifest = mbert.convert(checkpoint, tmp_path / "bundle")
    assert manifest.task == "fill-mask"
    assert listed(tmp_path) == ["bundle"]
    assert manifest.to_json() == (tmp_path / "bundle" / "manifest.json").read_text()


def test_the_manifest_is_read_back_as_it_was(checkpoint: Path, tmp_path: Path, quick: None) -> None:
    assert mbert.convert(checkpoint, tmp_path / "bundle") == read_manifest(tmp_path / "bundle")


def test_the_steps_are_named_in_order(checkpoint: Path, tmp_path: Path, quick: None) -> None:
    named: list[str] = []

    def progress(name: str) -> AbstractContextManager[None]:
        named.append(name)
        return nullcontext()

    mbert.convert(checkpoint, tmp_path / "bundle", progress=progress)
    assert tuple(named) == STEPS


@pytest.mark.parametrize(
    ("task", "inputs", "outputs", "operators"),
    [
        (
            "feature-extraction",
            {"input_ids": ["tokens"], "cu_seqlens": ["sequences + 1"]},
            {"last_hidden_state": ["tokens", 64]},
            ["VarlenAttention"],
        ),
        (
            "fill-mask",
            {
                "input_ids": ["tokens"],
                "cu_seqlens": ["sequences + 1"],
                "mask_positions": ["masks"],
            },
            {"logits": ["masks", 500]},
            ["VarlenAttention"],
        ),
        (
            "text-classification",
            {"input_ids": ["tokens"], "cu_seqlens": ["sequences + 1"]},
            {"logits": ["sequences", 3]},
            ["VarlenAttention", "VarlenPooling"],
        ),
        (
            "question-answering",
            {"input_ids": ["tokens"], "cu_seqlens": ["sequences + 1"]},
            {"start_logits": ["tokens"], "end_logits": ["tokens"]},
            ["VarlenAttention"],
        ),
    ],
)
def test_the_manifest_states_the_signature(
    bundles: dict[str, Path],
    task: str,
    inputs: dict[str, list[Any]],
    outputs: dict[str, list[Any]],
    operators: list[str],
) -> None:
    raw = json.loads((bundles[task] / "manifest.json").read_text())
    assert raw["task"] == task
    assert raw["inputs"] == [
        {"name": name, "dtype": "int32", "shape": shape} for name, shape in inputs.items()
    ]
    assert raw["outputs"] == [
        {"name": name, "dtype": "float32", "shape": shape} for name, shape in outputs.items()
    ]
    # A CPU's layers consist of these.
    linear = ["Linear", "NormGatedLinear", "NormLinear", "ResidualLinear"]
    assert raw["operators"] == dict.fromkeys(sorted([*linear, *operators]), 1)


def test_the_manifest_states_everything_else(bundles: dict[str, Path]) -> None:
    raw = json.loads((bundles["fill-mask"] / "manifest.json").read_text())
    assert raw["format_version"] == 2
    assert raw["mbert_version"] == mbert.__version__
    assert (raw["precision"], raw["target"], raw["backend"]) == ("fp32", "cpu", "onnxruntime")
    assert raw["limits"] == {
        "max_tokens": 16384,
        "max_sequence_length": 1024,
        "max_sequences": 2048,
    }
    assert raw["source"] == {"checkpoint": "my-model", "revision": None, "license": "apache-2.0"}
    assert raw["special_tokens"] == {
        "cls": CLS,
        "sep": SEP,
        "pad": PAD,
        "mask": MASK,
        "unk": UNK,
    }
    assert raw["pooling"] is None
    assert raw["labels"] is None
    shape = raw["model"]
    assert (shape["vocab_size"], shape["hidden_size"], shape["head_dim"]) == (500, 64, 32)
    assert shape["layers"] == [
        {"window": -1, "theta": 160000.0},
        {"window": 16, "theta": 10000.0},
    ]


def test_what_belongs_to_one_task_is_stated_for_it(bundles: dict[str, Path]) -> None:
    manifest = read_manifest(bundles["text-classification"])
    assert manifest.labels == ("good", "bad", "neither")
    assert manifest.problem_type == "multi_label_classification"
    assert manifest.pooling is None
    assert read_manifest(bundles["feature-extraction"]).pooling == "mean"
    assert read_manifest(bundles["feature-extraction"]).labels is None


@pytest.mark.parametrize("task", TASKS)
def test_the_record_holds_both_ways_of_running(bundles: dict[str, Path], task: str) -> None:
    record = read_manifest(bundles[task]).verification
    assert set(record["checks"]) == {"plugin", "functions"}
    assert list(record["outputs"]) == list(RUNTIME_TASKS[task].outputs)
    for output, judged in record["outputs"].items():
        for checks in record["checks"].values():
            assert 0 <= checks[output]["max_abs_error"] <= judged["tolerance"]
        assert judged["tolerance"] >= 4 * judged["pytorch_error"] > 0
        assert judged["tolerance"] < 1e-4 * judged["largest_value"]
    assert {1, 64, 65, 128, 129} < set(record["batch"]["lengths"])
    assert "float64" in record["judge"]


@pytest.mark.parametrize("task", TASKS)
def test_the_files_are_those_of_the_manifest(bundles: dict[str, Path], task: str) -> None:
    folder = bundles[task]
    files = read_manifest(folder).files
    assert {*files, "manifest.json"} == set(contents(folder))
    for name, entry in files.items():
        assert (folder / name).stat().st_size == entry.size
        assert file_sha256(folder / name) == entry.sha256


def test_the_checkpoints_own_files_go_along(bundles: dict[str, Path], checkpoint: Path) -> None:
    for name in ("config.json", "tokenizer.json", "README.md"):
        assert (bundles["fill-mask"] / name).read_bytes() == (checkpoint / name).read_bytes()
    assert listed(bundles["text-classification"]) == [
        "config.json",
        "manifest.json",
        "model.onnx",
        "model.onnx.data",
    ]


@pytest.mark.parametrize("task", TASKS)
def test_the_model_passes_the_checker(bundles: dict[str, Path], task: str) -> None:
    path = bundles[task] / "model.onnx"
    onnx.checker.check_model(str(path), full_check=True)
    model = onnx.load(path, load_external_data=False)
    assert {entry.domain for entry in model.opset_import} == {"", "mbert"}
    assert {function.name for function in model.functions} == set(
        read_manifest(bundles[task]).operators
    )
    locations = {
        entry.value
        for tensor in model.graph.initializer
        for entry in tensor.external_data
        if entry.key == "location"
    }
    assert locations == {"model.onnx.data"}


def test_every_weight_is_stored_once(bundles: dict[str, Path], checkpoint: Path) -> None:
    """The decoder is tied to the embedding, and layers of one theta share a rotary table."""
    stored = (bundles["fill-mask"] / "model.onnx.data").stat().st_size
    weights = sum(tensor.numel() for tensor in load_file(checkpoint / "model.safetensors").values())
    rotary = 2 * 1024 * 32
    assert stored < 4 * (weights + rotary) * 1.05


@pytest.mark.parametrize("task", TASKS)
def test_nothing_of_this_machine_is_in_the_bundle(
    bundles: dict[str, Path], checkpoint: Path, task: str
) -> None:
    folders = {
        str(checkpoint.parent),
        str(bundles[task].parent),
        str(Path(mbert.__file__).parent),
        str(Path(torch.__file__).parent),
        str(Path.cwd()),
        sys.prefix,
    }
    for path in (bundles[task] / "model.onnx", bundles[task] / "manifest.json"):
        held = path.read_bytes()
        assert not [folder for folder in folders if folder.encode() in held]
        assert not re.findall(rb"/(?:home|root|tmp|usr|var|opt|site-packages)/[\w./-]*", held)
        assert b".py" not in held


def test_the_folder_is_as_readable_as_any(checkpoint: Path, tmp_path: Path, quick: None) -> None:
    before = os.umask(0o027)
    try:
        mbert.convert(checkpoint, tmp_path / "bundle")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "bundle").stat().st_mode) == 0o750
    for path in (tmp_path / "bundle").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_two_exports_write_the_same_model(
    checkpoint: Path, bundles: dict[str, Path], tmp_path: Path
) -> None:
    mbert.convert(checkpoint, tmp_path / "bundle", task="fill-mask")
    for name in ("model.onnx", "model.onnx.data"):
        assert file_sha256(tmp_path / "bundle" / name) == file_sha256(bundles["fill-mask"] / name)


# ---- the destination


def test_an_existing_bundle_stays_without_force(checkpoint: Path, old_bundle: Path) -> None:
    before = contents(old_bundle.parent)
    with pytest.raises(ExportError, match=r"exists\. Choose another output, or pass --force"):
        mbert.convert(checkpoint, old_bundle)
    assert contents(old_bundle.parent) == before


def test_force_replaces_a_bundle(checkpoint: Path, old_bundle: Path, quick: None) -> None:
    (old_bundle / "stray").write_text("of the old bundle")
    manifest = mbert.convert(checkpoint, old_bundle, force=True)
    assert manifest.task == "fill-mask"
    assert open_bundle(old_bundle).manifest.task == "fill-mask"
    assert {*manifest.files, "manifest.json"} == set(contents(old_bundle))
    assert listed(old_bundle.parent) == ["bundle"]


def test_force_fills_an_empty_folder(checkpoint: Path, tmp_path: Path, quick: None) -> None:
    (tmp_path / "bundle").mkdir()
    mbert.convert(checkpoint, tmp_path / "bundle", force=True)
    assert open_bundle(tmp_path / "bundle").manifest.task == "fill-mask"
    assert listed(tmp_path) == ["bundle"]


@pytest.mark.parametrize("kind", ["folder", "file", "link", "dangling link"])
def test_force_replaces_bundles_only(
    checkpoint: Path, bundles: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    output = tmp_path / "output"
    if kind == "folder":
        output.mkdir()
        (output / "thesis.txt").write_text("years of work")
    elif kind == "file":
        output.write_text("years of work")
    else:
        output.symlink_to(bundles["fill-mask"] if kind == "link" else tmp_path / "nowhere")
    before = contents(tmp_path)
    with pytest.raises(ExportError, match="--force replaces bundles only"):
        mbert.convert(checkpoint, output, force=True)
    with pytest.raises(ExportError, match="exists"):
        mbert.convert(checkpoint, output)
    assert contents(tmp_path) == before
    assert listed(tmp_path) == ["output"]


@pytest.mark.parametrize("parent", ["nothing there", "a file"])
def test_the_parent_is_a_folder(checkpoint: Path, tmp_path: Path, parent: str) -> None:
    if parent == "a file":
        (tmp_path / parent).write_text("")
    before = listed(tmp_path)
    with pytest.raises(ExportError, match=f"{parent} is not a folder"):
        mbert.convert(checkpoint, tmp_path / parent / "bundle")
    assert listed(tmp_path) == before


def test_an_unwritable_parent_is_refused_before_any_work(checkpoint: Path, tmp_path: Path) -> None:
    named: list[str] = []

    def progress(name: str) -> AbstractContextManager[None]:
        named.append(name)
        return nullcontext()

    with read_only(tmp_path / "parent") as parent:
        with pytest.raises(ExportError, match="is not writable"):
            mbert.convert(checkpoint, parent / "bundle", progress=progress)
        assert listed(parent) == []
    assert named == []


def test_an_unknown_task_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(MbertError, match="task is 'translation'; expected one of feature-extract"):
        mbert.convert(checkpoint, tmp_path / "bundle", task="translation")
    assert listed(tmp_path) == []


def _never(*arguments: object) -> NoReturn:
    raise AssertionError("called")


def test_nothing_is_read_where_nothing_could_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline_module, "open_checkpoint", _never)
    (tmp_path / "bundle").mkdir()
    with pytest.raises(ExportError, match="exists"):
        mbert.convert("some/checkpoint", tmp_path / "bundle")


# ---- exports that are wrong


def wider_window(model: torch.nn.Module) -> None:
    model.get_submodule("model.layers.1").window += 1


def swapped_tables(model: torch.nn.Module) -> None:
    encoder: Any = model.get_submodule("model")
    encoder.table_of_layer = [1 - table for table in encoder.table_of_layer]


@pytest.mark.parametrize("mutate", [wider_window, swapped_tables])
def test_a_wrong_trace_is_found(
    checkpoint: Path,
    old_bundle: Path,
    small_batch: None,
    monkeypatch: pytest.MonkeyPatch,
    mutate: Callable[[torch.nn.Module], None],
) -> None:
    def wrong(model: torch.nn.Module, task: str, opset: int) -> ir.Model:
        mutant = copy.deepcopy(model)
        mutate(mutant)
        return trace_module.trace(mutant, task, opset)

    monkeypatch.setattr(graph_module, "trace", wrong)
    before = contents(old_bundle.parent)
    with pytest.raises(ExportError, match="exported model is wrong: run with plugin, "):
        mbert.convert(checkpoint, old_bundle, force=True)
    assert contents(old_bundle.parent) == before
    assert listed(old_bundle.parent) == ["bundle"]


def test_a_wrong_function_is_found(
    checkpoint: Path, tmp_path: Path, small_batch: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernels are right; only a run without them shows the fault."""
    right = operators_module.function_body

    def wrong(operator: str, opset: int) -> onnx.FunctionProto:
        body = right(operator, opset)
        for node in body.node:
            if node.output[0] == "q_first":
                node.op_type = "Add"
        return body

    monkeypatch.setattr(operators_module, "function_body", wrong)
    with pytest.raises(ExportError, match="exported model is wrong: run with functions, "):
        mbert.convert(checkpoint, tmp_path / "bundle")
    assert listed(tmp_path) == []


def test_weights_that_are_not_finite_are_refused(
    checkpoint: Path, tmp_path: Path, small_batch: None
) -> None:
    source = Path(shutil.copytree(checkpoint, tmp_path / "source"))
    stored = load_file(source / "model.safetensors")
    stored["model.layers.1.mlp.Wi.weight"][3, 5] = float("nan")
    save_file(stored, source / "model.safetensors")
    with pytest.raises(CheckpointError, match="not finite, in PyTorch too"):
        mbert.convert(source, tmp_path / "bundle")
    assert listed(tmp_path) == ["source"]


# ---- tokenizers


def test_a_tokenizer_of_another_vocabulary_is_refused(
    checkpoint: Path, tmp_path: Path, quick: None
) -> None:
    source = Path(shutil.copytree(checkpoint, tmp_path / "source"))
    path = source / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    for entry in tokenizer["added_tokens"]:
        if entry["content"] == "[MASK]":
            entry["id"] = 700
    tokenizer["model"]["vocab"]["[MASK]"] = 700
    path.write_text(json.dumps(tokenizer))
    with pytest.raises(CheckpointError, match=r"'\[MASK\]' is token 700, the vocabulary has 500"):
        mbert.convert(source, tmp_path / "bundle")
    assert listed(tmp_path) == ["source"]


@pytest.mark.parametrize("damage", ["no json", "no such token"])
def test_a_tokenizer_that_cannot_be_used_is_refused(
    checkpoint: Path, tmp_path: Path, quick: None, damage: str
) -> None:
    source = Path(shutil.copytree(checkpoint, tmp_path / "source"))
    if damage == "no json":
        (source / "tokenizer.json").write_text("{")
        message = r"tokenizer\.json is not a tokenizer"
    else:
        (source / "tokenizer_config.json").write_text('{"mask_token": "<mask>"}')
        message = r"has no token '<mask>', the mask token"
    with pytest.raises(CheckpointError, match=message):
        mbert.convert(source, tmp_path / "bundle")
    assert listed(tmp_path) == ["source"]


# ---- refused before the work begins


def test_heads_that_no_kernel_takes_are_refused(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "odd", hidden_size=48, num_attention_heads=2)
    with pytest.raises(ExportError, match=r"heads have 24 channels.*multiples of 16"):
        mbert.convert(folder, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize("window", [32, 600])
def test_the_batch_is_longer_than_the_widest_window(tmp_path: Path, window: int) -> None:
    folder = make_checkpoint(tmp_path / "wide", local_attention=2 * window)
    manifest = mbert.convert(folder, tmp_path / "bundle")
    assert max(manifest.verification["batch"]["lengths"]) > window + 1


def test_an_unknown_token_that_is_not_in_the_vocabulary_is_no_mistake(
    checkpoint: Path, tmp_path: Path, quick: None
) -> None:
    """Byte-level tokenizers know every text; their configs may name one all the same."""
    source = Path(shutil.copytree(checkpoint, tmp_path / "source"))
    path = source / "tokenizer_config.json"
    settings = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**settings, "unk_token": "<nothing>"}))
    assert "unk" not in mbert.convert(source, tmp_path / "bundle").special_tokens
