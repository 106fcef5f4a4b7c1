"""Opening a checkpoint: a folder, or a hub id without a network."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

import huggingface_hub.constants
import pytest

from mbert.errors import CheckpointError
from mbert.export.checkpoint import open_checkpoint


@pytest.fixture
def checkpoint(small_checkpoint: Path, tmp_path: Path) -> Path:
    """A copy of the small fill-mask checkpoint, to be changed."""
    return Path(shutil.copytree(small_checkpoint, tmp_path / "checkpoint"))


def refuses(folder: Path, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        open_checkpoint(folder)


def test_an_adapter_beside_the_weights_is_refused(checkpoint: Path) -> None:
    (checkpoint / "adapter_config.json").write_text("{}")
    refuses(checkpoint, "adapter_config.json.*Merge the adapter into the weights first")


# ---- not a checkpoint


def test_an_empty_folder_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"is not a checkpoint: it has no config\.json"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("source", ["{}/no/such/folder", "./a/b", "a b", "./x", "../x"])
def test_what_is_neither_folder_nor_hub_id_is_refused(tmp_path: Path, source: str) -> None:
    with pytest.raises(CheckpointError, match="neither a folder nor") as raised:
        open_checkpoint(source.format(tmp_path))
    assert "config.json" in str(raised.value)


def test_a_file_is_no_checkpoint(checkpoint: Path) -> None:
    with pytest.raises(CheckpointError, match="neither a folder nor a Hugging Face hub id"):
        open_checkpoint(checkpoint / "config.json")


def test_the_source_of_a_folder_is_its_name_alone(checkpoint: Path) -> None:
    opened = open_checkpoint(f"{checkpoint}/.")
    assert opened.source == "checkpoint"
    assert opened.folder == checkpoint


def test_a_folder_has_no_revision(checkpoint: Path) -> None:
    with pytest.raises(CheckpointError, match=r"revision.*'main'.*folder"):
        open_checkpoint(checkpoint, "main")


# ---- the hub, without a network


@pytest.fixture
def empty_hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)  # no folder of the id's name


@pytest.mark.usefixtures("empty_hub_cache")
@pytest.mark.parametrize("hub_id", ["some-owner/some-model", "some-model"])
def test_a_hub_id_offline_says_to_pass_a_folder(
    monkeypatch: pytest.MonkeyPatch, hub_id: str
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match="pass a local folder") as raised:
        open_checkpoint(hub_id)
    assert str(raised.value).startswith(f"{hub_id} is not a folder here")
    assert "\n" not in str(raised.value)


@pytest.mark.usefixtures("empty_hub_cache")
def test_a_hub_that_cannot_be_reached_says_to_pass_a_folder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.socket() as closed:  # bound and never listening: connections are refused
        closed.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{closed.getsockname()[1]}"
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", endpoint)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        with pytest.raises(CheckpointError, match="pass a local folder"):
            open_checkpoint("some-owner/some-model")
