"""Which programs are compared, and what happens when one fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mbert.bench import comparison as comparison_module
from mbert.bench.comparison import Comparison
from mbert.bench.errors import BenchError
from mbert.bench.measurement import ROUNDS, measure
from mbert.bench.program_process import ProgramProcess, ProgramSpec
from mbert.bench.programs import ProgramKind, Source
from mbert.bench.roofline import Shape
from mbert.bench.workloads import WORKLOADS
from mbert.errors import BackendError

SHAPE = Shape(500, 64, 96, 2, (-1, 16))
VALUES = np.arange(1, 7, dtype=np.float32).reshape(2, 3)


class FakeProgram(ProgramProcess):
    """A worker that returns ``values`` and takes ``seconds`` a call."""

    def __init__(
        self, name: str, precision: str = "fp32", ours: bool = False, copies: int = 0
    ) -> None:
        kind = ProgramKind("none", "none", precision, copies)
        source = Source("", None, "tokens", precision, 1)
        super().__init__(ProgramSpec(name, kind, source, ours), Path())
        self.values = VALUES
        self.seconds = 1.0
        self.asked: list[str] = []
        self.fails: Callable[[str], bool] = lambda command: False

    def load(self) -> None:
        self.asked.append("load")
        if self.fails("load"):
            raise BackendError("it cannot be loaded")

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        self.asked.append(command)
        if self.fails(command):
            raise BenchError("the process was killed by SIGKILL")
        if command == "write_outputs":
            self.values.tofile(arguments["path"])
            return {"shapes": [list(self.values.shape)]}
        if command == "turn":
            return {"seconds": [self.seconds], "settled": True, "peak_bytes": 1}
        return {"reset": True}


@pytest.fixture
def programs() -> dict[str, FakeProgram]:
    made = [
        FakeProgram("mbert", ours=True),
        FakeProgram("mbert-int8", "int8", ours=True),
        FakeProgram("float-peer", copies=4),
        FakeProgram("int8-peer", "int8"),
    ]
    return {program.spec.name: program for program in made}


def measured(programs: dict[str, FakeProgram], folder: Path) -> Any:
    sequences = [np.arange(5, 10, dtype=np.int32)] * 2
    return measure(list(programs.values()), SHAPE, WORKLOADS["W2"], sequences, folder, 0)


def test_each_peer_is_compared_with_the_bundle_of_its_precision(
    programs: dict[str, FakeProgram], tmp_path: Path
) -> None:
    programs["mbert-int8"].seconds = 0.5
    programs["int8-peer"].seconds = 1.5
    results = measured(programs, tmp_path).results
    assert {name: result.compared_with for name, result in results.items()} == {
        "mbert": None,
        "mbert-int8": "mbert",
        "float-peer": "mbert",
        "int8-peer": "mbert-int8",
    }
    assert results["int8-peer"].ratio.median == 3.0
    assert results["mbert-int8"].ratio.median == 0.5
    # All outputs are compared with float32's.
    assert {r.agreement.reference for n, r in results.items() if n != "mbert"} == {"mbert"}
    assert not list(tmp_path.iterdir())


def test_without_a_float32_bundle_outputs_are_held_against_a_float32_peer(
    programs: dict[str, FakeProgram], tmp_path: Path
) -> None:
    del programs["mbert"]
    results = measured(programs, tmp_path).results
    assert results["mbert-int8"].agreement.reference == "float-peer"
    assert results["float-peer"].agreement is None
    assert results["float-peer"].compared_with == "mbert-int8"


@pytest.mark.parametrize("command", ["load", "prepare", "write_outputs", "turn", "reset_peak"])
def test_a_peer_that_fails_is_noted_and_the_others_go_on(
    command: str, programs: dict[str, FakeProgram], tmp_path: Path
) -> None:
    programs["float-peer"].fails = lambda asked: asked == command
    made = measured(programs, tmp_path)
    assert made.results.keys() == {"mbert", "mbert-int8", "int8-peer"}
    assert made.failures.keys() == {"float-peer"}
    assert ("loaded" if command == "load" else "SIGKILL") in made.failures["float-peer"]
    assert programs["float-peer"].asked[-1] == command
    assert len(made.results["int8-peer"].turns) == ROUNDS


def test_a_peer_that_fails_between_its_turns_has_no_figures(
    programs: dict[str, FakeProgram], tmp_path: Path
) -> None:
    peer = programs["int8-peer"]
    peer.fails = lambda asked: peer.asked.count("turn") > 2
    made = measured(programs, tmp_path)
    assert "int8-peer" not in made.results
    assert "SIGKILL" in made.failures["int8-peer"]


def test_a_bundle_that_fails_is_an_error(programs: dict[str, FakeProgram], tmp_path: Path) -> None:
    programs["mbert-int8"].fails = lambda asked: asked == "turn"
    with pytest.raises(BenchError, match="SIGKILL"):
        measured(programs, tmp_path)


def test_who_may_disagree(programs: dict[str, FakeProgram], tmp_path: Path) -> None:
    programs["int8-peer"].values = -VALUES
    made = measured(programs, tmp_path)
    assert "cosine -1.0000" in made.failures["int8-peer"]
    for name in ("mbert-int8", "float-peer"):
        programs[name].values = -VALUES
        with pytest.raises(BenchError, match=f"mbert and {name} differ by 12"):
            measured(programs, tmp_path)
        programs[name].values = VALUES


def test_a_peer_is_left_out_where_memory_is_short(
    programs: dict[str, FakeProgram], monkeypatch: pytest.MonkeyPatch
) -> None:
    comparison = Comparison(list(programs.values()))
    # 4 arrays of 3 sequences x 12 heads x 1,000 x 1,000 scores in float32: 576 MB.
    for available, left_out in ((576_000_000, set()), (575_999_999, {"float-peer"})):
        monkeypatch.setattr(comparison_module, "available_bytes", lambda a=available: a)
        comparison.leave_out_too_large(12, [[10], [1000, 7, 9]])
        assert set(comparison.failures) == left_out
    assert "take about 0.6 GB, 0.6 GB are free" in comparison.failures["float-peer"]
    assert comparison.names == ["mbert", "mbert-int8", "int8-peer"]
