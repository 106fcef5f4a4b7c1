"""From timed steps to the record and its tables.

A fake clock replaces the GPU's events and graph replays; the programs are small.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import pytest
from torch import Tensor

from mbert.bench.gpu import attention, encoder, peers
from mbert.bench.gpu.report import draw, make_record
from mbert.bench.gpu.results import Check, Findings, compare
from mbert.bench.gpu.tables import microseconds
from mbert.bench.gpu.timing import Program, Timing, time_in_turns
from mbert.bench.random_checkpoint import SHAPES
from mbert.model.families import modernbert as model
from support.stand_in_kernels import Changed, ReferenceKernels, context

CARD = {
    "name": "NVIDIA L4", "sm": 89, "memory_bytes": 24e9, "multiprocessors": 58, "driver": "580.1",
    "clocks": "", "torch": "2.13.0", "torch_cuda": "13.0", "python": "3.11", "system": "Linux",
}  # fmt: skip
VERSIONS = {"mbert": "0.1.0", "nvcc": "13.0"}


def turn(program: Program, calls: int) -> float:
    """Time calls by a clock on which each takes a second."""
    for _ in range(calls):
        program()
    return float(calls)


def graph_timings(
    programs: Mapping[str, Program], rounds: int, calls: int = 1
) -> tuple[dict[str, Timing], dict[str, str]]:
    """Time all programs but flex, which cannot be captured."""
    captured = {name: program for name, program in programs.items() if name != "flex"}
    return time_in_turns(captured, turn, rounds), {
        name: "RuntimeError: no capture" for name in programs if name not in captured
    }


@pytest.fixture(autouse=True)
def on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (attention, encoder):
        monkeypatch.setattr(module, "gpu_turn", turn)
        monkeypatch.setattr(module, "graph_timings", graph_timings)
        monkeypatch.setattr(module, "QUICK_ROUNDS", 1)
    monkeypatch.setattr(peers, "compiled", lambda function: function)
    monkeypatch.setattr(attention, "NUM_HEADS", 2)
    monkeypatch.setattr(attention, "HEAD_DIM", 32)
    monkeypatch.setattr(attention, "QUICK_NAMES", ("W1-16", "W1-128"))
    monkeypatch.setattr(encoder, "QUICK_NAMES", ("W1-16",))
    monkeypatch.setattr(encoder, "CHECKED_LENGTHS", (30,))
    monkeypatch.setattr(encoder, "SHAPE", "small")
    monkeypatch.setitem(SHAPES, "small", {**SHAPES["tiny"], "num_hidden_layers": 4})


def flash_by_reference(work: peers.Workload) -> Callable[[Tensor], Tensor]:
    """Replace PyTorch's packed flash attention, which has no CPU kernel."""
    return lambda qkv: ReferenceKernels().attention(
        qkv, work.cu_seqlens, work.rope, work.num_heads, work.scale, work.window
    )


def test_operators_take_their_places_outside_of_what_is_timed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def attend(*arguments: object) -> Tensor:
        raise AssertionError("called")

    seen: list[object] = []

    def clock(program: Program, calls: int) -> float:
        program()
        seen.append(program)
        return 1.0

    def bare() -> None:
        seen.append(model.varlen_attention)

    original = model.varlen_attention
    monkeypatch.setattr(encoder, "gpu_turn", clock)
    on = encoder.On(attend, bare)
    encoder.turn_on_operator(on, 7)
    assert seen == [attend, bare]  # the program alone was timed
    on()
    assert seen[2:] == [attend]
    assert model.varlen_attention is original


def step(findings: Findings) -> dict[str, Any]:
    found = json.loads(json.dumps(asdict(findings)))  # as the step's process returns it
    return {"status": "passed", "seconds": 1.0, "findings": found}


def test_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "flash", flash_by_reference)
    findings = attention.run(context(ReferenceKernels()))
    programs = ["mbert fused", "mbert workspace*", "flash", "flex"]
    windowed = ["mbert fused*", "mbert workspace", "flash", "flex"]
    assert [row["program"] for row in findings.times] == (programs + windowed) * 2
    assert [check.problem for check in findings.checks] == [None] * 3 * 4
    assert "W1-16, window -1: no CUDA graph of flex: RuntimeError: no capture" in findings.notes
    for row in findings.times:
        assert row["call"]["best"] == 1.0
        assert (row["replay"] is None) == (row["program"] == "flex")
        # Two products over all pairs: 16 tokens are within a window of 64.
        if row["workload"] == "W1-16":
            assert row["flop"] == 4 * 16 * 16 * 2 * 32
    text = draw(make_record(CARD, VERSIONS, True, {"attention": step(findings)}))
    assert "NVIDIA L4 (sm_89, 58 multiprocessors, 24 GB), driver 580.1" in text
    assert "12 of 12" in text
    lines = [line for line in text.splitlines() if line.startswith("W1-128")]
    assert len(lines) == 8
    assert "global" in lines[0]
    assert lines[2].split()[-1] == "1.00x"  # flash beside itself
    assert lines[3].split()[-1] == "-"
    assert "- TFLOP/s: of the pairs that attend" in text


def test_peers_that_do_not_run_and_kernels_that_disagree(monkeypatch: pytest.MonkeyPatch) -> None:
    def twice(run: Any, *arguments: Any) -> Tensor:
        doubled: Tensor = 2 * run(*arguments)
        return doubled

    def flex(work: peers.Workload) -> Any:
        raise RuntimeError("no Triton here")

    monkeypatch.setattr(peers, "flash", flash_by_reference)
    monkeypatch.setattr(peers, "flex", flex)
    findings = attention.run(context(Changed(twice)))
    assert "W1-16: flex, window 64: RuntimeError: no Triton here" in findings.notes
    assert {row["program"].strip("*") for row in findings.times} == {
        "mbert fused", "mbert workspace", "flash",
    }  # fmt: skip
    wrong = {check.name for check in findings.checks if check.problem}
    assert "W1-128, window 64: flash agrees" in wrong


def test_nothing_begins_after_the_deadline() -> None:
    for module in (attention, encoder):
        findings = module.run(context(ReferenceKernels(), seconds=0))
        assert not findings.times
        assert any("left out, the time was up" in note for note in findings.notes)


def test_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "flash", flash_by_reference)
    findings = encoder.run(context(ReferenceKernels()))
    assert [row["part"] for row in findings.times] == [
        "encoder on mbert", "encoder on flash", "Wqkv", "attention, global", "Wo", "add + norm",
        "Wi", "GeGLU", "MLP Wo", "attention, window 64",
    ]  # fmt: skip
    assert all(row["predicted"] > 0 for row in findings.times)
    assert [check.problem for check in findings.checks] == [None]
    text = draw(make_record(CARD, VERSIONS, True, {"encoder": step(findings)}))
    assert "measured / predicted" in text
    assert sum(line.startswith("W1-16") for line in text.splitlines()) == 10


def test_no_prediction_for_a_card_that_is_not_in_the_table() -> None:
    unknown = context(ReferenceKernels(), card="NVIDIA Something 1000")
    assert encoder.predict_whole(unknown, "W1-16") is None
    assert not list(encoder.predict_parts(unknown, [16]))


def test_record_and_summary() -> None:
    findings = Findings(
        [
            compare("a", 1.0, 2.0),
            compare("b", 3.0, 2.0),
            compare("c", float("nan"), 1.0),
            Check("d", "is wrong"),
        ]
    )
    steps = {
        "build": {"status": "passed", "seconds": 9.6},
        "primitives": {"status": "broken", "seconds": 3.0, "error": "the process ended with -6:"},
        "correctness": {**step(Findings(findings.checks[:2])), "status": "failed"},
    }
    record = make_record(CARD, VERSIONS, False, steps)
    assert (record["format_version"], record["kind"]) == (1, "measured")
    assert json.loads(json.dumps(record)) == record
    text = draw(record)
    assert "primitives broken: the process ended with -6:" in text
    assert "correctness: b: errs by 3.00e+00, allowed are 2.00e+00" in text
    rows = {line.split()[0]: line.split() for line in text.splitlines() if line}
    assert rows["build"] == ["build", "passed", "10"]
    assert rows["correctness"][1:] == ["failed", "1", "of", "2", "1.50", "1"]
    assert findings.checks[2].problem is not None  # NaN fails the check


def test_times_are_in_microseconds() -> None:
    assert (microseconds(None), microseconds(1.5e-3)) == ("-", "1,500.0")
