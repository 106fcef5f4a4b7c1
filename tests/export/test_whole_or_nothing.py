"""Full disks, interrupts and signals: a bundle is whole or absent, and an older one stays."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import mbert
from mbert.errors import ExportError
from mbert.export import bundle as bundle_module
from mbert.runtime.bundle import open_bundle
from support.exports import STEPS, contents, listed, mounted
from support.thinning import thinned

# ---- a disk that fills up


def test_a_full_disk_leaves_nothing(checkpoint: Path, tmp_path: Path, quick: None) -> None:
    with mounted(tmp_path, "size=400k"):
        with pytest.raises(ExportError, match=r"No room to write .* MB are free"):
            mbert.convert(checkpoint, tmp_path / "bundle")
        assert listed(tmp_path) == []


def test_a_full_disk_leaves_the_old_bundle(
    checkpoint: Path, bundles: dict[str, Path], tmp_path: Path, quick: None
) -> None:
    held = sum(path.stat().st_size for path in bundles["feature-extraction"].iterdir())
    with mounted(tmp_path, f"size={held + 300_000}"):
        shutil.copytree(bundles["feature-extraction"], tmp_path / "bundle")
        before = contents(tmp_path)
        with pytest.raises(ExportError, match="No room to write"):
            mbert.convert(checkpoint, tmp_path / "bundle", force=True)
        assert contents(tmp_path) == before
        assert listed(tmp_path) == ["bundle"]


# What a child process runs: the command itself, but the model is one that was traced before.
COMMAND = """
import importlib, os, sys
import onnx_ir
from mbert.export.cli import main
steps = importlib.import_module("mbert.export.steps")
graph = importlib.import_module("mbert.export.graph")
graph.trace = lambda model, task, opset: onnx_ir.load(os.environ["TRACED"])
{before}
main(sys.argv[1:], prog_name="mbert-export")
"""


# The signals that end a command. A shell or nohup may have this process ignore them, and a child
# inherits that.
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def end_by_signals() -> None:
    for number in ENDING:
        signal.signal(number, signal.SIG_DFL)


def child(before: str, traced: Path, folder: Path, *arguments: object) -> subprocess.Popen[str]:
    """Start mbert-export after running ``before``; not from the repository, which hides mbert."""
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND.format(before=before), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**os.environ, "TRACED": str(traced / "model.onnx")},
        preexec_fn=end_by_signals,
    )


LIMITED = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
"""


def test_a_file_that_may_not_grow_leaves_nothing(
    checkpoint: Path, bundles: dict[str, Path], tmp_path: Path
) -> None:
    arguments = (checkpoint, "-o", tmp_path / "bundle")
    with child(LIMITED, bundles["fill-mask"], checkpoint.parent, *arguments) as process:
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "Error: No room to write" in errors
    assert "Traceback" not in errors
    assert listed(tmp_path) == []


@pytest.mark.parametrize("name", ["config.json", "README.md"])
def test_a_copy_that_fails_leaves_nothing(
    checkpoint: Path, tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    write_bytes = Path.write_bytes

    def failing(path: Path, data: bytes) -> int:
        if path.name == name:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return write_bytes(path, data)

    monkeypatch.setattr(Path, "write_bytes", failing)
    with pytest.raises(ExportError, match=r"Input/output error.*Nothing was left behind"):
        mbert.convert(checkpoint, tmp_path / "bundle")
    assert listed(tmp_path) == []


# ---- interrupts


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        *((step, KeyboardInterrupt) for step in STEPS),
        (STEPS[3], SystemExit),
        (STEPS[4], ValueError),
    ],
)
def test_an_interrupted_step_leaves_the_old_bundle_alone(
    checkpoint: Path, old_bundle: Path, quick: None, step: str, kind: type[BaseException]
) -> None:
    @contextmanager
    def progress(name: str) -> Iterator[None]:
        yield
        if name == step:
            raise kind

    before = contents(old_bundle.parent)
    with pytest.raises(kind):
        mbert.convert(checkpoint, old_bundle, force=True, progress=progress)
    assert contents(old_bundle.parent) == before
    assert listed(old_bundle.parent) == ["bundle"]


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("which", [0, 1])
def test_an_interrupt_while_replacing_leaves_one_whole_bundle(
    checkpoint: Path,
    old_bundle: Path,
    quick: None,
    monkeypatch: pytest.MonkeyPatch,
    which: int,
    done: bool,
) -> None:
    """Ctrl-C around either of the two renames that put a new bundle in the place of an old one."""
    replace = os.replace
    calls = 0

    def interrupted(source: Path, destination: Path) -> None:
        nonlocal calls
        now = old_bundle in (Path(source), Path(destination)) and calls == which
        calls += old_bundle in (Path(source), Path(destination))
        if not now or done:
            replace(source, destination)
        if now:
            raise KeyboardInterrupt

    monkeypatch.setattr(bundle_module.os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        mbert.convert(checkpoint, old_bundle, force=True)
    assert calls > which
    assert listed(old_bundle.parent) == ["bundle"]
    assert open_bundle(old_bundle).manifest.task in ("feature-extraction", "fill-mask")


def test_a_rename_that_fails_leaves_the_old_bundle(
    checkpoint: Path, old_bundle: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = os.replace

    def failing(source: Path, destination: Path) -> None:
        if Path(destination) == old_bundle and "manifest.json" in os.listdir(source):
            manifest = json.loads((Path(source) / "manifest.json").read_text())
            if manifest["task"] == "fill-mask":
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        replace(source, destination)

    before = contents(old_bundle)
    monkeypatch.setattr(bundle_module.os, "replace", failing)
    with pytest.raises(ExportError, match=r"Permission denied.*Nothing was left behind"):
        mbert.convert(checkpoint, old_bundle, force=True)
    assert contents(old_bundle) == before
    assert listed(old_bundle.parent) == ["bundle"]


# The model is written when it says so; then it waits to be interrupted.
WAITING = """
import time
def wait(*arguments):
    print("ready", flush=True)
    time.sleep(100)
steps.verify = wait
"""


@pytest.mark.parametrize("number", thinned(ENDING, ENDING[1:2]), ids=str)
def test_a_signal_leaves_the_old_bundle_alone(
    checkpoint: Path, bundles: dict[str, Path], old_bundle: Path, number: signal.Signals
) -> None:
    before = contents(old_bundle.parent)
    arguments = (checkpoint, "--force", "-o", old_bundle)
    with child(WAITING, bundles["fill-mask"], checkpoint.parent, *arguments) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            assert len(listed(old_bundle.parent)) == 2  # the half-written one is there
            process.send_signal(number)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode != 0
    assert "Traceback" not in errors
    assert contents(old_bundle.parent) == before
    assert listed(old_bundle.parent) == ["bundle"]


def test_the_handlers_of_the_process_stay(checkpoint: Path, tmp_path: Path, quick: None) -> None:
    """mbert.convert is a library call: it leaves the signals of its process alone."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    mbert.convert(checkpoint, tmp_path / "bundle")
    assert {number: signal.getsignal(number) for number in handlers} == handlers


# ---- folders that are no bundles


def test_force_replaces_no_folder_that_only_has_a_manifest(
    checkpoint: Path, tmp_path: Path, quick: None
) -> None:
    """Web applications and browser extensions have a manifest.json, too."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "manifest.json").write_text('{"name": "my app", "version": 3}')
    before = contents(site)
    with pytest.raises(ExportError, match="is not a bundle"):
        mbert.convert(checkpoint, site, force=True)
    assert contents(site) == before


@pytest.mark.parametrize("force", [False, True])
def test_what_appears_during_the_export_stays(
    checkpoint: Path, tmp_path: Path, quick: None, force: bool
) -> None:
    output = tmp_path / "bundle"

    @contextmanager
    def progress(name: str) -> Iterator[None]:
        yield
        if name == STEPS[-1]:
            output.mkdir()
            (output / "precious").write_text("mine")

    with pytest.raises(ExportError, match="exists"):
        mbert.convert(checkpoint, output, force=force, progress=progress)
    assert listed(tmp_path) == ["bundle"]
    assert (output / "precious").read_text() == "mine"


def test_an_old_bundle_that_cannot_be_put_back_is_kept(
    checkpoint: Path, old_bundle: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = os.replace
    before = contents(old_bundle)

    def failing(source: Path, destination: Path) -> None:
        if Path(destination) == old_bundle:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        replace(source, destination)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(ExportError, match="Input/output error"):
        mbert.convert(checkpoint, old_bundle, force=True)
    [kept] = old_bundle.parent.iterdir()
    assert contents(kept) == before
