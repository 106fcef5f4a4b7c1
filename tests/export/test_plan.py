"""The plan: made without weights, and the precision that calibration picks."""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from mbert.errors import ExportError
from mbert.export import plan_export, steps
from mbert.export.checkpoint import open_checkpoint
from mbert.export.placement import choose_placement
from mbert.export.plan import make_plan
from mbert.export.precisions import PRECISIONS, Calibration
from mbert.export.precisions.calibration_data import Sample
from mbert.export.precisions.fp16 import GpuFloat16
from mbert.runtime.manifest import PRECISIONS as NAMES

folder_module: Any = importlib.import_module("mbert.export.checkpoint.folder")
placement_module: Any = importlib.import_module("mbert.export.placement")


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement_module, "local_devices", lambda: ())


@pytest.fixture
def without_weights(checkpoint: Path, tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(checkpoint, tmp_path / "source"))
    (folder / "model.safetensors").unlink()
    return folder


def test_a_plan_needs_no_weights(without_weights: Path) -> None:
    plan = plan_export(without_weights, precision="bf16", max_tokens=4096)
    assert plan.task == "fill-mask"
    assert plan.precision is not None
    assert plan.precision.name == "bf16"
    assert plan.calibrates
    assert (plan.limits.max_tokens, plan.limits.max_sequence_length) == (4096, 1024)
    assert json.loads(json.dumps(plan.to_dict())) == plan.to_dict()
    for name, value in plan.describe():
        assert f"{name}: {value}" in str(plan)


@pytest.mark.parametrize("plan", [True, False])
def test_a_plan_downloads_no_weights(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, plan: bool
) -> None:
    requested: set[str] = set()

    def download(hub_id: str, revision: str | None, allow_patterns: list[str]) -> str:
        requested.update(allow_patterns)
        return str(checkpoint)

    monkeypatch.setattr(folder_module, "snapshot_download", download)
    if plan:
        assert plan_export("some/model").checkpoint == "some/model"
    else:
        open_checkpoint("some/model")
    assert {"config.json", "modules.json"} < requested
    assert ("*.safetensors" in requested) is not plan


def test_equal_requests_make_equal_plans(checkpoint: Path) -> None:
    assert plan_export(checkpoint, gpu="h100") == plan_export(checkpoint, gpu="h100")
    assert plan_export(checkpoint, gpu="h100") != plan_export(checkpoint)


def test_a_plan_refuses_calibration_that_nothing_uses(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="--precision int8 or bf16"):
        plan_export(checkpoint, calibration=tmp_path / "texts")


def test_every_precision_of_the_manifest_is_registered_once() -> None:
    registered = [(one.name, one.processor) for one in PRECISIONS]
    assert len(set(registered)) == len(registered)
    assert {name for name, _ in registered} == set(NAMES)


# ---- the precision, after calibration


def decided(checkpoint: Path, gpu: str, precision: str) -> tuple[str, list[str]]:
    """The precision of an export, and the sentences told."""
    told: list[str] = []
    source = open_checkpoint(checkpoint)
    plan = make_plan(source, choose_placement(gpu, "onnxruntime", precision))
    state = steps.ExportState(plan, source, steps.Reporter(tell=told.append))
    state.model = None  # type: ignore[assignment]  # the overflow is faked
    steps.decide_precision(state, Calibration(Sample("text", [])))
    return state.precision.name, told


@pytest.fixture
def overflows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GpuFloat16, "overflow", lambda *arguments: "layers.3 reaches 70,000")


def test_float16_is_the_first_choice(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GpuFloat16, "overflow", lambda *arguments: None)
    name, told = decided(checkpoint, "l4", "auto")
    assert name == "fp16"
    assert told == ["fp16: all activations fit."]


def test_bfloat16_is_the_second(checkpoint: Path, overflows: None) -> None:
    name, (sentence,) = decided(checkpoint, "l4", "auto")
    assert name == "bf16"
    assert "layers.3 reaches 70,000" in sentence
    assert decided(checkpoint, "l4", "bf16") == ("bf16", [])


def test_a_requested_float16_that_overflows_is_refused(checkpoint: Path, overflows: None) -> None:
    with pytest.raises(ExportError, match=r"layers\.3 reaches 70,000\. .*--precision bf16"):
        decided(checkpoint, "l4", "fp16")
    with pytest.raises(ExportError, match=r"70,000\. t4 .*no bfloat16.*--precision fp32"):
        decided(checkpoint, "t4", "auto")
