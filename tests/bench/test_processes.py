"""Workers: what they import, what they measure of themselves, and how they fail."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mbert.bench.errors import BenchError
from mbert.bench.memory import peak_bytes, reset_peak
from mbert.bench.process import WorkerProcess
from mbert.bench.worker import serve
from mbert.errors import BundleError, CheckpointError


@pytest.mark.parametrize(
    ("program", "foreign"),
    [("packed", ["torch", "transformers", "onnx"]), ("pytorch", ["onnxruntime"])],
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
        load = {"path": str(tmp_path / "nothing"), "task": "feature-extraction", "threads": 1}
        with pytest.raises(BundleError, match="not a bundle"):
            worker.ask("load", program="mbert", **load)
        with pytest.raises(BenchError, match="mbert process failed during 'load': KeyError"):
            worker.ask("load", program="another", **load)


def test_a_checkpoint_that_transformers_cannot_load(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with (
        WorkerProcess("pytorch", tmp_path) as worker,
        pytest.raises(CheckpointError, match="transformers cannot load"),
    ):
        worker.ask(
            "load", program="pytorch", path=str(tmp_path), task="feature-extraction", threads=1
        )


def test_a_dead_worker_is_mourned(tmp_path: Path) -> None:
    with WorkerProcess("pytorch", tmp_path) as worker:
        worker._process.kill()
        with pytest.raises(BenchError, match=r"pytorch process was killed by SIGKILL .*memory"):
            worker.ask("turn")


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
