"""Which backend and precision an export takes, and what does not go together."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from mbert.errors import BackendError, ExportError
from mbert.export.choice import choose, choose_precision

choice_module: Any = importlib.import_module("mbert.export.choice")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Pretend which backends are installed and which GPUs are here."""

    def pretend(tensorrt: bool, rtx: bool, gpus: set[str]) -> None:
        monkeypatch.setattr(choice_module, "local_capabilities", lambda: gpus)
        for name, there in (("tensorrt", tensorrt), ("tensorrt_rtx", rtx)):
            backend = getattr(choice_module, name)
            reason = None if there else f"{name} is missing; pip install it."
            monkeypatch.setattr(backend, "available", lambda reason=reason: reason)
        monkeypatch.setattr(
            choice_module.tensorrt_rtx, "supports", lambda capability: capability != "9.0"
        )

    return pretend


def test_tensorrt_builds_where_such_a_gpu_is(installed: Any) -> None:
    installed(tensorrt=True, rtx=True, gpus={"8.9"})
    choice = choose("l4", "auto", "auto")
    assert (choice.name, choice.backend, choice.builds_now) == ("l4", "tensorrt", True)
    assert "such a GPU is here" in choice.reasons[0]
    assert choose("l4", "tensorrt", "auto").builds_now


@pytest.mark.parametrize(("tensorrt", "gpus"), [(True, {"7.5"}), (False, {"8.9"}), (False, set())])
def test_elsewhere_tensorrt_rtx_builds_ahead_of_time(
    installed: Any, tensorrt: bool, gpus: set[str]
) -> None:
    installed(tensorrt=tensorrt, rtx=True, gpus=gpus)
    choice = choose("rtx4090", "auto", "auto")
    assert (choice.backend, choice.builds_now) == ("tensorrt-rtx", True)
    assert len(choice.reasons) == 1
    # What NVIDIA does not list is said.
    assert "l4 is not on that list" in choose("l4", "auto", "auto").reasons[1]


@pytest.mark.parametrize(
    ("gpu", "rtx", "precision", "reason"),
    [
        ("h100", True, "auto", "does not build for compute capability 9.0"),
        ("l4", False, "auto", "is missing"),
        ("l4", True, "fp32", "no fused attention in float32"),
    ],
)
def test_what_cannot_be_built_here_is_built_at_first_load(
    installed: Any, gpu: str, rtx: bool, precision: str, reason: str
) -> None:
    installed(tensorrt=False, rtx=rtx, gpus=set())
    choice = choose(gpu, "auto", precision)
    assert (choice.backend, choice.builds_now) == ("tensorrt", False)
    assert reason in choice.reasons[0]
    assert "when the bundle is first loaded" in choice.reasons[0]


def test_a_backend_that_is_asked_for_must_be_installed(installed: Any) -> None:
    installed(tensorrt=False, rtx=False, gpus=set())
    with pytest.raises(BackendError, match="pip install"):
        choose("l4", "tensorrt-rtx", "auto")


@pytest.mark.parametrize(
    ("gpu", "backend", "precision", "message"),
    [
        ("l5", "auto", "auto", "Did you mean l4"),
        ("t4", "auto", "bf16", "t4 .* has no bfloat16.*--precision fp16"),
        ("h100", "tensorrt-rtx", "auto", r"9\.0\. Use --backend tensorrt"),
        ("l4", "tensorrt-rtx", "fp32", r"float32\. Use --backend tensorrt"),
        ("l4", "openvino", "auto", "expected one of auto, onnxruntime, tensorrt, tensorrt-rtx"),
        ("l4", "auto", "fp8", "expected one of auto, fp32, fp16, bf16"),
        (None, "tensorrt", "auto", "is for GPUs. Name one with --gpu"),
        (None, "auto", "fp16", "fp16 is for GPUs"),
    ],
)
def test_what_does_not_go_together_is_refused(
    installed: Any, gpu: str | None, backend: str, precision: str, message: str
) -> None:
    installed(tensorrt=False, rtx=True, gpus=set())
    with pytest.raises(ExportError, match=message):
        choose(gpu, backend, precision)


def test_compatible_engines_are_tensorrts(installed: Any) -> None:
    installed(tensorrt=True, rtx=True, gpus={"8.9"})
    choice = choose("l4", "auto", "auto", "ampere-plus")
    assert (choice.backend, choice.hardware_compatibility) == ("tensorrt", "ampere-plus")
    with pytest.raises(ExportError, match=r"made by TensorRT; this export takes tensorrt-rtx"):
        choose("l4", "tensorrt-rtx", "auto", "ampere-plus")
    with pytest.raises(ExportError, match="hardware compatibility is 'all'; expected one of none"):
        choose("l4", "tensorrt", "auto", "all")


def test_the_cpu_is_the_default() -> None:
    choice = choose(None, "auto", "auto")
    assert (choice.name, choice.backend, choice.builds_now) == ("cpu", "onnxruntime", False)


def test_float16_is_taken_where_it_fits_and_bfloat16_where_not(installed: Any) -> None:
    installed(tensorrt=False, rtx=True, gpus=set())
    l4, t4 = choose("l4", "auto", "auto"), choose("t4", "auto", "auto")
    assert choose_precision("auto", l4, None)[0] == "fp16"
    precision, sentence = choose_precision("auto", l4, "layers.3 reaches 70,000")
    assert precision == "bf16"
    assert sentence is not None
    assert "layers.3 reaches 70,000" in sentence
    assert choose_precision("bf16", l4, "anything") == ("bf16", None)
    with pytest.raises(
        ExportError, match=r"layers\.3 reaches 70,000\. Export with --precision bf16"
    ):
        choose_precision("fp16", l4, "layers.3 reaches 70,000")
    with pytest.raises(ExportError, match="t4 has no bfloat16"):
        choose_precision("auto", t4, "layers.3 reaches 70,000")
