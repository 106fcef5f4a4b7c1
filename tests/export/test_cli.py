"""``mbert-export``."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mbert.export.cli import main
from mbert.export.targets import TARGETS
from mbert.runtime.bundle import open_bundle
from support.checkpoints import edit_config
from support.exports import STEPS, listed


@pytest.fixture
def command(
    capfd: pytest.CaptureFixture[str],
) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """Run mbert-export in this process; return exit status, standard output and error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        capfd.readouterr()
        status = 0
        try:
            main([str(argument) for argument in arguments], prog_name="mbert-export")
        except SystemExit as leaving:
            status = int(leaving.code or 0)
        return status, *capfd.readouterr()

    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_the_command_prints_a_summary(
    command: Callable[..., tuple[int, str, str]], checkpoint: Path, tmp_path: Path, quick: None
) -> None:
    status, shown, progress = command(checkpoint, "--cpu", "-o", tmp_path / "bundle")
    assert status == 0
    for word in (
        "fill-mask",
        "cpu, fp32, onnxruntime",
        "2 layers",
        "tolerance",
        "error, functions",
    ):
        assert word in shown
    for step in STEPS:
        assert step in progress


def test_a_gpu_bundle_says_that_its_engine_was_not_run(
    command: Callable[..., tuple[int, str, str]],
    checkpoint: Path,
    tmp_path: Path,
    small_batch: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    arguments = ("--max-tokens", 512, "-o", tmp_path / "l4")
    status, shown, progress = command(checkpoint, "--gpu", "l4", *arguments)
    assert status == 0
    assert "l4, fp16, tensorrt-rtx" in shown
    assert "3 profiles" in shown
    assert "built, not run" in shown
    assert "error, standard operators, fp16" in shown
    assert "TensorRT-RTX, which builds on any machine" in progress
    assert "build the engine with tensorrt-rtx" in progress


def test_an_engine_for_later_is_announced(
    command: Callable[..., tuple[int, str, str]],
    checkpoint: Path,
    tmp_path: Path,
    small_batch: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    status, shown, progress = command(checkpoint, "--gpu", "h100", "-o", tmp_path / "h100")
    assert status == 0
    assert "built at first load, on a GPU of compute capability 9.0" in shown
    assert "The engine is built when the bundle is first loaded on its GPU" in progress


def test_the_gpus_are_listed(
    command: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    status, shown, _ = command("--list-gpus")
    assert status == 0
    for target in TARGETS.values():
        assert target.name in shown
        assert target.compute_capability in shown


def test_two_targets_are_one_too_many(
    command: Callable[..., tuple[int, str, str]], checkpoint: Path, tmp_path: Path
) -> None:
    status, _, errors = command(checkpoint, "--cpu", "--gpu", "l4", "-o", tmp_path / "x")
    assert status == 2
    assert "--cpu and --gpu are two targets" in errors


def test_quiet_prints_nothing(
    command: Callable[..., tuple[int, str, str]], checkpoint: Path, tmp_path: Path
) -> None:
    arguments = (checkpoint, "--task", "feature-extraction", "-o", tmp_path / "bundle")
    assert command(*arguments, "--quiet") == (0, "", "")
    assert open_bundle(tmp_path / "bundle").manifest.task == "feature-extraction"


def test_json_is_the_manifest_and_the_times(
    command: Callable[..., tuple[int, str, str]], checkpoint: Path, tmp_path: Path, quick: None
) -> None:
    status, shown, _ = command(checkpoint, "--json", "-o", tmp_path / "bundle")
    assert status == 0
    parsed = json.loads(shown)
    assert parsed["manifest"] == json.loads((tmp_path / "bundle" / "manifest.json").read_text())
    assert tuple(parsed["seconds"]) == STEPS


def test_an_error_is_one_line(
    command: Callable[..., tuple[int, str, str]], checkpoint: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "taken").mkdir()
    for arguments, message in (
        ((tmp_path / "empty", "-o", tmp_path / "x"), "has no config.json"),
        ((tmp_path / "absent" / "x", "-o", tmp_path / "x"), "neither a folder nor"),
        ((checkpoint, "-o", tmp_path / "taken"), "taken exists"),
        ((checkpoint, "-o", tmp_path / "no" / "x"), "is not a folder"),
        ((checkpoint, "--gpu", "l5", "-o", tmp_path / "x"), "Did you mean l4"),
        ((checkpoint, "--gpu", "t4", "--precision", "bf16", "-o", tmp_path / "x"), "no bfloat16"),
        ((checkpoint, "--task", "text-classification", "-o", tmp_path / "x"), "classifier.weight"),
    ):
        status, shown, errors = command(*arguments, "--quiet")
        assert status == 1
        assert shown == ""
        assert errors.startswith("Error: ")
        assert message in errors
        assert errors.count("\n") == 1
    assert listed(tmp_path) == ["empty", "taken"]


def test_a_checkpoint_that_is_wrong_is_one_line(
    command: Callable[..., tuple[int, str, str]], checkpoint: Path, tmp_path: Path
) -> None:
    source = Path(shutil.copytree(checkpoint, tmp_path / "source"))
    edit_config(source, model_type="bert")
    status, _, errors = command(source, "--quiet", "-o", tmp_path / "bundle")
    assert (status, errors.count("\n")) == (1, 1)
    assert "model_type is 'bert'" in errors


# ---- the plan


def test_a_dry_run_prints_the_plan_and_writes_nothing(
    command: Callable[..., tuple[int, str, str]],
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    for output in ((), ("-o", tmp_path / "bundle")):
        status, shown, errors = command(checkpoint, "--dry-run", "--precision", "int8", *output)
        assert (status, errors) == (0, "")
        for word in ("my-model", "fill-mask", "cpu", "onnxruntime", "int8", "16384", "1024"):
            assert word in shown
    assert listed(tmp_path) == []


def test_a_dry_run_in_json(command: Callable[..., tuple[int, str, str]], checkpoint: Path) -> None:
    status, shown, _ = command(checkpoint, "--dry-run", "--json", "--gpu", "h100")
    assert status == 0
    plan = json.loads(shown)
    assert (plan["target"], plan["compute_capability"]) == ("h100", "9.0")
    assert plan["precision"] is None
    assert plan["candidate_precisions"] == ["fp16", "bf16"]
    assert plan["builds_engine_now"] is False
    assert "first loaded" in plan["reasons"][0]


def test_a_dry_run_refuses_what_an_export_refuses(
    command: Callable[..., tuple[int, str, str]], checkpoint: Path
) -> None:
    status, _, errors = command(checkpoint, "--dry-run", "--max-sequence-length", 2048)
    assert status == 1
    assert "1024 tokens" in errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["x"], "Missing option '-o'"),
        (["x", "--json"], "Missing option '-o'"),
        (["x", "-o", "y", "--task", "translation"], "'translation' is not one of"),
        (["x", "-o", "y", "--no-such-option"], "No such option"),
    ],
)
def test_a_wrong_call_is_explained(
    command: Callable[..., tuple[int, str, str]], arguments: list[str], message: str
) -> None:
    status, _, errors = command(*arguments)
    assert status == 2
    assert message in errors


def test_help_names_the_options(command: Callable[..., tuple[int, str, str]]) -> None:
    status, shown, _ = command("--help")
    assert status == 0
    for option in ("--cpu", "--output", "--task", "--revision", "--force", "--dry-run", "--json"):
        assert option in shown
