"""Shared checkpoints and bundles; tests copy them and never change them."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx_ir as ir
import pytest
import torch

from mbert.export.checkpoint import open_checkpoint
from mbert.export.tasks import load_model
from mbert.export.trace import trace
from support.checkpoints import make_checkpoint
from support.export_cache import ExportCache
from support.text import add_tokenizer

reference_module: Any = importlib.import_module("mbert.export.verify.reference")
graph_module: Any = importlib.import_module("mbert.export.graph")

CARD = "---\nlicense: apache-2.0\n---\n# A test model\n"


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole fill-mask checkpoint: weights, tokenizer, card."""
    folder = tmp_path_factory.mktemp("source") / "my-model"
    make_checkpoint(folder, num_hidden_layers=2)
    add_tokenizer(folder)
    (folder / "README.md").write_text(CARD)
    return folder


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source") / "classifier"
    labels = {0: "good", 1: "bad", 2: "neither"}
    return make_checkpoint(
        folder,
        "text-classification",
        num_hidden_layers=2,
        classifier_pooling="mean",
        id2label=labels,
        label2id={label: i for i, label in labels.items()},
        problem_type="multi_label_classification",
    )


@pytest.fixture(scope="session")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source") / "reader"
    return make_checkpoint(folder, "question-answering", num_hidden_layers=2)


@pytest.fixture(scope="session")
def bundles(
    checkpoint: Path, classifier: Path, reader: Path, exports: ExportCache
) -> dict[str, Path]:
    """One bundle for each kind of signature, by task."""
    sources = {
        "feature-extraction": checkpoint,
        "fill-mask": checkpoint,
        "text-classification": classifier,
        "question-answering": reader,
    }
    return {task: exports(source, task) for task, source in sources.items()}


@pytest.fixture
def old_bundle(bundles: dict[str, Path], tmp_path: Path) -> Path:
    """An older bundle at the destination of an export, alone in its folder."""
    folder = tmp_path / "out"
    folder.mkdir()
    return Path(shutil.copytree(bundles["feature-extraction"], folder / "bundle"))


@pytest.fixture(scope="session")
def traced(checkpoint: Path) -> Callable[[torch.nn.Module, str, int], ir.Model]:
    """A tracer that returns one traced model, for tests of the later steps."""
    model = load_model(open_checkpoint(checkpoint), "fill-mask")
    once = trace(model, "fill-mask")
    return lambda model, task, opset: once


@pytest.fixture
def small_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Verify on a batch that is small, yet longer than the window."""
    monkeypatch.setattr(reference_module, "_LENGTHS", (1, 2, 40))


@pytest.fixture
def quick(
    monkeypatch: pytest.MonkeyPatch,
    small_batch: None,
    traced: Callable[[torch.nn.Module, str, int], ir.Model],
) -> None:
    """Make fill-mask exports of ``checkpoint`` quick: nothing is traced again."""
    monkeypatch.setattr(graph_module, "trace", traced)
