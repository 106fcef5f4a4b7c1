"""mbert.load: bundles, and checkpoints that are exported once."""

from __future__ import annotations

import logging
import os
import pickle
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import mbert
from mbert import loading
from mbert.errors import BackendError, BundleError, CheckpointError, ExportError, InputError
from support.checkpoints import make_checkpoint
from support.export_cache import ExportCache
from support.text import add_tokenizer


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("loading") / "little"
    return add_tokenizer(make_checkpoint(folder, num_hidden_layers=1))


@pytest.fixture(scope="module")
def bundle(checkpoint: Path, exports: ExportCache) -> Path:
    return exports(checkpoint)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("MBERT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "bundles"


@pytest.fixture
def exported(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Calls of an export that copies a bundle instead."""
    calls: list[dict[str, Any]] = []

    def convert(path: Any, output: Path, **options: Any) -> None:
        calls.append({"path": path, **options})
        shutil.copytree(bundle, output)

    monkeypatch.setattr("mbert.export.convert", convert)
    return calls


def test_a_checkpoint_is_exported_once(
    checkpoint: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "mbert"), mbert.load(checkpoint) as model:
        assert type(model) is mbert.MaskFiller
        expected = model.fill_mask("The [MASK] rose.")
        pickled = pickle.dumps(model)
    (made,) = cache.iterdir()
    assert made.name.startswith("little-")
    (record,) = caplog.records
    assert str(checkpoint) in record.getMessage()
    assert str(made) in record.getMessage()
    caplog.clear()

    def fail(*arguments: Any, **options: Any) -> None:
        raise AssertionError("exported again")

    monkeypatch.setattr("mbert.export.convert", fail)
    for path in (checkpoint, str(checkpoint), os.path.relpath(checkpoint)):
        with mbert.load(path) as model:
            assert model.context.folder == made
    with pickle.loads(pickled) as model:
        assert model.fill_mask("The [MASK] rose.") == expected
    assert caplog.records == []


def test_task_and_precision_choose_another_export(checkpoint: Path, cache: Path) -> None:
    with mbert.load(checkpoint, task="feature-extraction") as model:
        assert isinstance(model, mbert.Embedder)
    with mbert.load(checkpoint, precision="fp32") as model:
        assert (model.task, model.info.precision) == ("fill-mask", "fp32")
    assert len(list(cache.iterdir())) == 2
    with mbert.load(checkpoint, task="feature-extraction", overflow="truncate", threads=1) as model:
        assert model.context.overflow == "truncate"
    assert len(list(cache.iterdir())) == 2


def test_a_changed_checkpoint_is_exported_again(
    checkpoint: Path, cache: Path, exported: list[dict[str, Any]], tmp_path: Path
) -> None:
    copied = Path(shutil.copytree(checkpoint, tmp_path / "copied"))
    mbert.load(copied).close()
    mbert.load(copied).close()
    assert len(exported) == 1
    os.utime(copied / "model.safetensors", (1, 1))
    mbert.load(copied).close()
    assert len(exported) == 2
    assert len(list(cache.iterdir())) == 2


def test_a_hub_id_is_exported_at_its_commit(
    checkpoint: Path,
    cache: Path,
    exported: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[str, str | None]] = []

    def resolve(source: str, revision: str | None, weights: bool) -> SimpleNamespace:
        assert not weights
        asked.append((source, revision))
        commit = {"main": "a" * 40, "next": "b" * 40}[revision or "main"]
        return SimpleNamespace(source=source, revision=commit, folder=checkpoint)

    monkeypatch.setattr("mbert.export.checkpoint.folder.open_checkpoint", resolve)
    for revision in (None, "main", "next", None):
        mbert.load("org/little", revision=revision).close()
    assert asked == [("org/little", revision) for revision in (None, "main", "next", None)]
    # "main" and the default are the same commit.
    assert [call["revision"] for call in exported] == ["a" * 40, "b" * 40]
    assert all(made.name.startswith("little-") for made in cache.iterdir())


@pytest.mark.parametrize(
    "option", [{"task": "fill-mask"}, {"precision": "fp32"}, {"revision": "main"}]
)
def test_options_of_checkpoints_do_not_go_with_a_bundle(
    bundle: Path, cache: Path, option: dict[str, str]
) -> None:
    ((name, value),) = option.items()
    with pytest.raises(InputError, match=rf"{name}.*{value}.*bundle"):
        mbert.load(bundle, **option)  # type: ignore[arg-type]
    assert not cache.exists()


def test_a_bundle_is_loaded_from_its_folder(bundle: Path, cache: Path) -> None:
    with mbert.load(bundle, threads=1) as model, mbert.load(str(bundle)) as other:
        np.testing.assert_array_equal(model.run([[1, 3, 2]])[0], other.run([[1, 3, 2]])[0])
    assert not (cache / "bundles").exists()


@pytest.mark.parametrize("name", ["empty", "absent", "absent/twice/over", "./absent", "../absent"])
def test_what_is_neither_is_not_a_bundle(
    tmp_path: Path, cache: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    for path in (name, tmp_path / name):
        with pytest.raises(BundleError, match=rf"{Path(name).name}.*manifest\.json"):
            mbert.load(path)


def test_a_checkpoint_that_cannot_be_exported_leaves_nothing(tmp_path: Path, cache: Path) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(CheckpointError):
        mbert.load(folder)
    assert not cache.exists() or not list(cache.iterdir())


@pytest.mark.parametrize("option", [{"device": "cuda"}, {"threads": 0}, {"overflow": "cut"}])
def test_options_are_checked_before_a_checkpoint_is_exported(
    checkpoint: Path, cache: Path, exported: list[dict[str, Any]], option: dict[str, Any]
) -> None:
    ((name, value),) = option.items()
    with pytest.raises(InputError, match=rf"{name}.*{value}"):
        mbert.load(checkpoint, **option)
    assert exported == []
    mbert.load(checkpoint, device="cpu", threads=1, overflow="error").close()
    assert len(exported) == 1


def test_a_cache_that_cannot_be_made_is_named(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("MBERT_CACHE", str(tmp_path / "file"))
    with pytest.raises(BackendError, match=r"file/bundles.*MBERT_CACHE"):
        mbert.load(checkpoint)


def test_a_machine_without_the_export_says_what_to_install(
    checkpoint: Path, bundle: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mbert.export", None)
    with pytest.raises(BackendError, match=r"mbert\[export\]"):
        mbert.load(checkpoint)
    with pytest.raises(BackendError, match=r"org/absent .*not a folder.*mbert\[export\]"):
        mbert.load("org/absent")
    mbert.load(bundle).close()


def test_a_user_without_a_cache_is_told(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "cache_folder", lambda: None)
    with pytest.raises(BackendError, match=r"MBERT_CACHE.*mbert-export"):
        mbert.load(checkpoint)


@pytest.mark.parametrize("written", [True, False])
def test_another_process_may_export_meanwhile(
    checkpoint: Path, bundle: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, written: bool
) -> None:
    def convert(path: Any, output: Path, **options: Any) -> None:
        if written:
            shutil.copytree(bundle, output)
        raise ExportError(f"{output} exists")

    monkeypatch.setattr("mbert.export.convert", convert)
    if written:
        mbert.load(checkpoint).close()
    else:
        with pytest.raises(ExportError, match="exists"):
            mbert.load(checkpoint)
