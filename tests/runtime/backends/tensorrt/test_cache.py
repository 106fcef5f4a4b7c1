"""The engine cache: several processes, and no cache folder."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from mbert.runtime.backends.tensorrt.cache import cached_engine, engine_key, runtime_cache_file
from mbert.runtime.bundle import open_bundle
from support.exports import listed
from support.gpu_bundles import make_bundle, make_manifest

# Builds when it is told to by a file, and leaves a line for each build.
PROCESS = """
import logging, sys, time
from contextlib import ExitStack
from pathlib import Path
from mbert.runtime.backends.tensorrt.cache import cached_engine
logging.basicConfig(format="%(message)s")
folder = Path(sys.argv[1])
def build(path):
    with (folder / "builds").open("a") as file:
        file.write("one\\n")
    while not (folder / "go").exists():
        time.sleep(0.01)
    path.write_bytes(b"built")
with ExitStack() as temporary:
    print(cached_engine("key", build, "the engine", temporary).read_bytes().decode())
"""
WAITING = "Another process is building the engine; waiting for it."
BUILDING = "Building the engine."


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    running: list[subprocess.Popen[str]] = []

    def start_one() -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        command = [sys.executable, "-c", f"import sys; sys.path.pop(0)\n{PROCESS}", str(tmp_path)]
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            command, stdout=pipe, stderr=pipe, text=True, env=environment, cwd=tmp_path
        )
        running.append(process)
        return process

    yield start_one
    for process in running:
        process.kill()
        process.communicate()


def await_line(process: subprocess.Popen[str], text: str) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith(text):
            return
    raise AssertionError(f"the process ended without saying {text!r}")


def test_one_process_builds_and_the_others_wait(
    start: Callable[[], subprocess.Popen[str]], tmp_path: Path
) -> None:
    first = start()
    await_line(first, BUILDING)
    others = [start(), start()]
    for other in others:
        await_line(other, WAITING)
    (tmp_path / "go").touch()
    for process in (first, *others):
        output, _ = process.communicate(timeout=60)
        assert (process.returncode, output) == (0, "built\n")
    assert (tmp_path / "builds").read_text() == "one\n"


def test_a_lock_dies_with_its_process(
    start: Callable[[], subprocess.Popen[str]], tmp_path: Path
) -> None:
    first = start()
    await_line(first, BUILDING)
    second = start()
    await_line(second, WAITING)
    first.send_signal(signal.SIGKILL)
    await_line(second, BUILDING)
    (tmp_path / "go").touch()
    output, _ = second.communicate(timeout=60)
    assert (second.returncode, output) == (0, "built\n")
    assert (tmp_path / "builds").read_text() == "one\none\n"


@pytest.mark.parametrize("cache", ["file", "nowhere"])
def test_without_a_cache_it_is_built_each_time(
    cache: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if cache == "file":
        (tmp_path / "file").touch()
        monkeypatch.setenv("MBERT_CACHE", str(tmp_path / "file"))
    else:
        monkeypatch.setattr("mbert.runtime.backends.tensorrt.cache.cache_folder", lambda: None)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    built: list[Path] = []

    def build(path: Path) -> None:
        built.append(path)
        path.write_bytes(b"built")

    for _ in range(2):
        with ExitStack() as temporary:
            assert cached_engine("key", build, "the engine", temporary).read_bytes() == b"built"
    assert len(built) == 2
    assert listed(tmp_path / "temporary") == []
    assert "so the engine is built again at each load" in caplog.text
    assert runtime_cache_file("key") is None


def test_a_failed_build_frees_the_lock(tmp_path: Path) -> None:
    def fail(path: Path) -> None:
        raise RuntimeError("no")

    def build(path: Path) -> None:
        path.write_bytes(b"built")

    with ExitStack() as temporary:
        with pytest.raises(RuntimeError, match="no"):
            cached_engine("key", fail, "the engine", temporary)
        assert cached_engine("key", build, "the engine", temporary).read_bytes() == b"built"


def test_a_lock_that_cannot_be_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As without locks: two may build, and either's rename is whole."""

    def flock(file: object, operation: int) -> None:
        if operation & fcntl.LOCK_NB:
            raise BlockingIOError(errno.EWOULDBLOCK, "another has it")
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with ExitStack() as temporary:
        path = cached_engine("key", lambda path: path.write_bytes(b"built"), "it", temporary)
        assert path.read_bytes() == b"built"
    assert "waiting for it" in caplog.text


def test_a_kept_engine_is_not_announced(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "mbert")
    with ExitStack() as temporary:
        path = cached_engine("key", lambda path: path.write_bytes(b"built"), "it", temporary)
        caplog.clear()
        assert cached_engine("key", lambda path: 1 / 0, "it", temporary) == path
    assert caplog.text == ""


def test_a_key_names_everything_that_an_engine_depends_on(tmp_path: Path) -> None:
    manifest = make_manifest(built=False)
    bundle = open_bundle(make_bundle(tmp_path / "a", manifest))
    other = open_bundle(make_bundle(tmp_path / "b", replace(manifest, mbert_version="2", files={})))
    engine = manifest.engine
    assert engine is not None
    fewer = replace(engine, profiles=engine.profiles[:1])
    older = replace(engine, compute_capability="8.6")
    keys = [
        engine_key(bundle, engine, "tensorrt-rtx 1.7", None),
        engine_key(other, engine, "tensorrt-rtx 1.7", None),
        engine_key(bundle, fewer, "tensorrt-rtx 1.7", None),
        engine_key(bundle, engine, "tensorrt-rtx 1.8", None),
        engine_key(bundle, older, "tensorrt-rtx 1.7", None),
        engine_key(bundle, engine, "tensorrt-rtx 1.7", "NVIDIA L4"),
        engine_key(bundle, engine, "tensorrt-rtx 1.7", "NVIDIA L40S"),
    ]
    assert len(set(keys)) == len(keys)
    assert keys[0] == engine_key(bundle, engine, "tensorrt-rtx 1.7", None)
