"""The command of the GPU bench: options, failing steps, and the record."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mbert.bench.gpu import cli, steps
from mbert.bench.gpu.card import Card, target_of, this_card
from mbert.bench.gpu.results import Findings, compare
from mbert.errors import BackendError

ROOT = Path(__file__).parents[3]
CARD = Card("NVIDIA H100 PCIe", 90, 80 * 10**9, 114, "580", "", "2.13", "13.0", "3.11", "Linux")


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend to have a GPU and compiled kernels."""
    monkeypatch.setattr(cli, "this_card", lambda: CARD)
    monkeypatch.setattr(cli, "find_nvcc", lambda: Path("nvcc"))
    monkeypatch.setattr(cli, "nvcc_version", lambda nvcc: "13.0")
    monkeypatch.setattr(cli, "build", lambda *arguments: Path("library.so"))


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as left:
        cli.main(["--checkout", str(ROOT), *map(str, arguments)])
    code = left.value.code
    assert isinstance(code, int)
    return code


@pytest.mark.usefixtures("card")
def test_steps_that_break_are_reported_one_by_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The steps' processes find no GPU."""
    assert run("--steps", "primitives,encoder", "--output", tmp_path / "record.json") == 1
    record = json.loads((tmp_path / "record.json").read_text())
    assert list(record["steps"]) == ["build", "primitives", "encoder"]
    assert [step["status"] for step in record["steps"].values()] == ["passed", "broken", "broken"]
    assert "NVIDIA GPU" in record["steps"]["encoder"]["error"]
    assert record["card"]["name"] == CARD.name
    assert record["versions"] == {"mbert": "0.1.0", "nvcc": "13.0"}
    printed = capsys.readouterr()
    assert "NVIDIA H100 PCIe (sm_90" in printed.out
    assert "primitives: broken" in printed.err


@pytest.mark.usefixtures("card")
def test_all_passed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[Any] = []

    def apart(*arguments: Any) -> dict[str, Any]:
        seen.append(arguments)
        return {"status": "passed", "seconds": 1.0, "findings": {"checks": [], "times": []}}

    monkeypatch.setattr(cli, "run_apart", apart)
    assert run("--quick") == 0
    assert seen == [(name, ROOT, Path("library.so"), True) for name in steps.STEPS]


@pytest.mark.usefixtures("card")
def test_nothing_runs_without_kernels(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*arguments: Any) -> Path:
        raise BackendError("nvcc failed (2)")

    monkeypatch.setattr(cli, "build", fails)
    assert run("--output", tmp_path / "record.json") == 1
    record = json.loads((tmp_path / "record.json").read_text())
    assert [step["status"] for step in record["steps"].values()] == ["broken"] + ["skipped"] * 4
    assert "build broken: BackendError: nvcc failed (2)" in capsys.readouterr().out


@pytest.mark.usefixtures("card")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--steps", "timing"], "No such step: timing. Expected some of primitives"),
        (["--steps", ","], "No such step"),
        (["--output", "{here}/no/record.json"], "is no folder"),
        (["--checkout", "{here}"], "No checkout of mbert"),
    ],
)
def test_refusals(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*(argument.format(here=tmp_path) for argument in arguments)) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(("error", "status"), [(1.0, "passed"), (3.0, "failed")])
def test_a_steps_findings_come_back(
    error: float, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def in_process(command: list[str], seconds: float, printed: Path) -> None:
        assert command[command.index("--step") + 1] == "encoder"
        assert "--quick" in command
        output = Path(command[command.index("--output") + 1])
        steps.write_findings(Findings([compare("a", error, 2.0)], notes=["n"]), output)

    monkeypatch.setattr(steps, "_run", in_process)
    found = steps.run_apart("encoder", ROOT, Path("library.so"), True)
    assert found["status"] == status
    assert found["findings"]["checks"][0]["allowed"] == 2.0
    assert found["findings"]["notes"] == ["n"]


def test_card_is_described_by_the_driver_as_the_one_in_use(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """nvidia-smi numbers all GPUs, PyTorch the visible ones."""
    found = SimpleNamespace(
        name="NVIDIA L4", major=8, minor=9, total_memory=24, multi_processor_count=58, uuid="1-2-3"
    )
    devices = [SimpleNamespace(), found]
    monkeypatch.setattr("torch.version.cuda", "13.0")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.current_device", lambda: 1)
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda index: devices[index])
    tool = tmp_path / "nvidia-smi"
    tool.write_text('#!/bin/sh\necho "$@"\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    described = this_card()
    assert (described.name, described.sm) == ("NVIDIA L4", 89)
    assert "--id=GPU-1-2-3" in described.driver
    assert "--id=GPU-1-2-3" in described.clocks


def test_a_step_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(steps.STEPS, "encoder", 0)
    monkeypatch.setattr(steps, "GRACE_SECONDS", 0)
    found = steps.run_apart("encoder", ROOT, tmp_path / "library.so", True)
    assert found["status"] == "broken"
    assert "timed out" in found["error"]


@pytest.mark.parametrize(
    ("name", "sm", "target"),
    [
        ("Tesla T4", 75, "t4"),
        ("NVIDIA L4", 89, "l4"),
        ("NVIDIA L40S", 89, "l40s"),
        ("NVIDIA A10G", 86, "a10g"),
        ("NVIDIA A100-SXM4-80GB", 80, "a100"),
        ("NVIDIA GeForce RTX 4090", 89, "rtx4090"),
        ("NVIDIA RTX A6000", 86, "a6000"),
        ("NVIDIA H100 80GB HBM3", 90, "h100"),
        ("NVIDIA B200", 100, "b200"),
        ("NVIDIA L4", 90, None),
        ("NVIDIA TITAN V", 70, None),
    ],
)
def test_card_is_found_in_the_table(name: str, sm: int, target: str | None) -> None:
    found = target_of(name, sm)
    assert (None if found is None else found.name) == target
