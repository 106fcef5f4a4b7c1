"""The task that a checkpoint was saved for."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mbert.errors import CheckpointError
from mbert.export.checkpoint import open_checkpoint
from mbert.export.tasks import default_task, load_model
from support.checkpoints import edit_config


@pytest.fixture
def checkpoint(small_checkpoint: Path, tmp_path: Path) -> Path:
    """A copy of the small fill-mask checkpoint, to be changed."""
    return Path(shutil.copytree(small_checkpoint, tmp_path / "checkpoint"))


@pytest.mark.parametrize(
    ("architectures", "task"),
    [
        (["ModernBertModel"], "feature-extraction"),
        (["ModernBertForMaskedLM"], "fill-mask"),
        (["ModernBertForSequenceClassification"], "text-classification"),
        (["SomethingElse", "ModernBertForMaskedLM"], "fill-mask"),
    ],
)
def test_the_default_task_is_that_of_the_architecture(
    checkpoint: Path, architectures: list[str], task: str
) -> None:
    edit_config(checkpoint, architectures=architectures)
    assert default_task(open_checkpoint(checkpoint)) == task


@pytest.mark.parametrize("architectures", [["ModernBertForSomethingElse"], [], None])
def test_an_unknown_architecture_asks_for_the_task(
    checkpoint: Path, architectures: list[str] | None
) -> None:
    edit_config(checkpoint, architectures=architectures)
    with pytest.raises(CheckpointError, match=r"architectures is \[.*Name the task: .*fill-mask"):
        _ = default_task(open_checkpoint(checkpoint))


def test_an_unknown_task_is_refused(small_checkpoint: Path) -> None:
    with pytest.raises(CheckpointError, match="task is 'summarization'; expected one of"):
        load_model(open_checkpoint(small_checkpoint), "summarization")
