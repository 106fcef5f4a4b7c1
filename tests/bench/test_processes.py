"""Workers: their imports, their peak memory, and their failures."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from mbert.bench.errors import BenchError
from mbert.bench.memory import peak_bytes, reset_peak
from mbert.bench.program_process import ProgramProcess, ProgramSpec
from mbert.bench.programs import BUNDLE, ProgramKind, Source
from mbert.bench.worker import serve
from mbert.bench.worker_process import WorkerProcess
from mbert.errors import BundleError, CheckpointError


@pytest.mark.parametrize(
    ("program", "foreign"),
    [
        ("packed", ["torch", "transformers", "onnx"]),
        ("pytorch", ["onnxruntime"]),
        ("padded_onnx", ["torch", "transformers", "onnx"]),
        ("openvino_ir", ["torch", "transformers", "onnx", "onnxruntime"]),
    ],
)
def test_a_program_does_not_carry_another_ones_libraries(
    program: str, foreign: list[str], tmp_path: Path
) -> None:
    code = (
        "import sys, mbert.bench.worker\n"
        f"import mbert.bench.programs.{program}\n"
        f"print([name for name in {foreign!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_the_peak_can_be_reset() -> None:
    size = 128 << 20
    block = np.ones(size, np.uint8)
    before = peak_bytes()
    assert before >= block.nbytes
    del block
    if not reset_peak():
        pytest.skip("this system does not let a process reset its peak")
    low = peak_bytes()
    assert low <= before - size // 2
    block = np.ones(size, np.uint8)
    assert peak_bytes() >= low + block.nbytes // 2


def replies_to(*requests: dict[str, object]) -> list[dict[str, dict[str, str]]]:
    written = io.StringIO()
    serve(io.StringIO("".join(json.dumps(request) + "\n" for request in requests)), written)
    return [json.loads(line) for line in written.getvalue().splitlines()]


def test_a_worker_answers_mistakes_and_goes_on() -> None:
    unknown, early, wrong, fine = replies_to(
        {"command": "frobnicate"},
        {"command": "turn"},
        {"command": "load"},
        {"command": "highest_peak"},
    )
    assert "'frobnicate' is no command" in unknown["error"]["message"]
    assert "No program has been loaded" in early["error"]["message"]
    assert wrong["error"]["message"].startswith("TypeError")
    assert fine["result"]["peak_bytes"]


def test_an_error_keeps_its_class(tmp_path: Path) -> None:
    with WorkerProcess("mbert", tmp_path) as worker:
        source = asdict(Source(str(tmp_path / "nothing"), None, "tokens", "fp32", 1))
        with pytest.raises(BundleError, match="not a bundle"):
            worker.ask("load", module="packed", source=source)
        with pytest.raises(BenchError, match="mbert process failed during 'load': ModuleNotFound"):
            worker.ask("load", module="another", source=source)


def test_a_checkpoint_that_transformers_cannot_load(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    source = asdict(Source(str(tmp_path), "ModernBertModel", "tokens", "fp32", 1))
    with (
        WorkerProcess("pytorch", tmp_path) as worker,
        pytest.raises(CheckpointError, match="transformers cannot load"),
    ):
        worker.ask("load", module="pytorch", source=source)


def test_a_dead_worker_is_mourned(tmp_path: Path) -> None:
    with WorkerProcess("pytorch", tmp_path) as worker:
        worker._process.kill()
        with pytest.raises(BenchError, match=r"pytorch process was killed by SIGKILL .*memory"):
            worker.ask("turn")


def test_a_program_that_died_is_started_anew(tiny_embed_bundle: Path, tmp_path: Path) -> None:
    source = Source(str(tiny_embed_bundle), None, "tokens", "fp32", 1)
    spec = ProgramSpec("mbert", ProgramKind("packed", BUNDLE), source, ours=True)
    with ProgramProcess(spec, tmp_path) as program:
        assert not program.alive
        program.load()
        first = program._process
        program.load()
        assert program._process is first
        first._process.kill()
        first._process.wait()
        assert not program.alive
        program.load()
        program.ask("prepare", sequences=[[5, 6, 7]], groups=[[0]])
        assert program.ask("turn")["seconds"]
        assert program.peak_bytes > 0


def test_a_worker_that_cannot_start_shows_its_messages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", _script(tmp_path / "python", "echo broken >&2; exit 3"))
    with (
        WorkerProcess("mbert", tmp_path) as worker,
        pytest.raises(BenchError, match=r"(?s)ended with 3 during 'turn'.*broken"),
    ):
        worker.ask("turn")


def _script(path: Path, line: str) -> str:
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)
    return str(path)
