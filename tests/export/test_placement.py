"""Choice of backend and candidate precisions, and combinations that are refused."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

from mbert.errors import BackendError, ExportError
from mbert.export.placement import choose_placement
from mbert.runtime.backends.cuda import Device
from mbert.runtime.backends.tensorrt import TENSORRT, TENSORRT_RTX

placement_module: Any = importlib.import_module("mbert.export.placement")

L4 = Device(0, "NVIDIA L4", "8.9")
RTX4090 = Device(1, "NVIDIA GeForce RTX 4090", "8.9")
T4 = Device(0, "Tesla T4", "7.5")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Pretend which backends are installed and which GPUs are here."""

    def pretend(tensorrt: bool, rtx: bool, gpus: tuple[Device, ...] = ()) -> None:
        monkeypatch.setattr(placement_module, "local_devices", lambda: gpus)
        monkeypatch.setattr(placement_module, "tensorrt_library", lambda: Path("there.so"))
        for library, there in ((TENSORRT, tensorrt), (TENSORRT_RTX, rtx)):
            reason = None if there else f"{library.module} is missing; pip install it."
            monkeypatch.setattr(library, "unavailable", lambda reason=reason: reason)
        monkeypatch.setattr(TENSORRT_RTX, "supports", lambda capability: capability != "9.0")

    return pretend


def test_tensorrt_builds_where_such_a_gpu_is(installed: Any) -> None:
    installed(tensorrt=True, rtx=True, gpus=(RTX4090, L4))
    placement = choose_placement("l4", "auto", "auto")
    assert (placement.name, placement.backend, placement.builds_now) == ("l4", "tensorrt", True)
    assert placement.device == L4.index
    assert placement.reasons == ("TensorRT: it is installed, and NVIDIA L4 is here.",)
    assert choose_placement("l4", "tensorrt", "auto").builds_now
    assert choose_placement("sm_89", "tensorrt", "auto").device == RTX4090.index
    assert choose_placement("l4", "tensorrt-rtx", "auto").device == L4.index


def test_another_card_of_the_capability_is_not_the_target(installed: Any) -> None:
    installed(tensorrt=True, rtx=False, gpus=(RTX4090,))
    placement = choose_placement("l4", "auto", "auto")
    assert (placement.builds_now, placement.device) == (False, None)
    assert "No l4 is here." in placement.reasons[0]
    # Unless the engine is to run on all of them.
    placement = choose_placement("l4", "auto", "auto", "same-compute-capability")
    assert (placement.builds_now, placement.device) == (True, RTX4090.index)


def test_tensorrt_needs_its_plugins(installed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(tensorrt=True, rtx=True, gpus=(L4,))

    def missing() -> Path:
        raise BackendError("The library of plugins is missing.")

    monkeypatch.setattr(placement_module, "tensorrt_library", missing)
    placement = choose_placement("l4", "auto", "auto")
    assert placement.backend == "tensorrt-rtx"
    assert "The library of plugins is missing." in placement.reasons[0]


@pytest.mark.parametrize(("tensorrt", "gpus"), [(True, (T4,)), (False, (RTX4090,)), (False, ())])
def test_elsewhere_tensorrt_rtx_builds_ahead_of_time(
    installed: Any, tensorrt: bool, gpus: tuple[Device, ...]
) -> None:
    installed(tensorrt=tensorrt, rtx=True, gpus=gpus)
    placement = choose_placement("rtx4090", "auto", "auto")
    assert (placement.backend, placement.builds_now) == ("tensorrt-rtx", True)
    assert len(placement.reasons) == 1
    # What NVIDIA does not list is said.
    assert "l4 is not one" in choose_placement("l4", "auto", "auto").reasons[1]
    assert len(choose_placement("sm_89", "auto", "auto").reasons) == 1


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
    installed(tensorrt=False, rtx=rtx)
    placement = choose_placement(gpu, "auto", precision)
    assert (placement.backend, placement.builds_now) == ("tensorrt", False)
    assert reason in placement.reasons[0]
    assert "when the bundle is first loaded" in placement.reasons[0]


def test_a_backend_that_is_asked_for_must_be_installed(installed: Any) -> None:
    installed(tensorrt=False, rtx=False)
    with pytest.raises(BackendError, match="pip install"):
        choose_placement("l4", "tensorrt-rtx", "auto")


@pytest.mark.parametrize(
    ("gpu", "backend", "precision", "message"),
    [
        ("l5", "auto", "auto", "Did you mean l4"),
        ("t4", "auto", "bf16", "t4 .* has no bfloat16.*--precision fp16"),
        ("h100", "tensorrt-rtx", "auto", r"9\.0\. Use --backend tensorrt"),
        ("l4", "tensorrt-rtx", "fp32", r"float32\. Use --backend tensorrt"),
        ("l4", "openvino", "auto", "expected one of auto, onnxruntime, tensorrt, tensorrt-rtx"),
        ("l4", "auto", "fp8", "expected one of auto, fp32, fp16, bf16, int8"),
        (None, "tensorrt", "auto", "is for GPUs. Name one with --gpu"),
        (None, "auto", "fp16", r"fp16 is for GPUs \(--gpu\)\. .*fp32, bf16 or int8"),
        ("l4", "auto", "int8", r"int8 is for CPUs \(--cpu\)\. .*fp16, bf16 or fp32"),
    ],
)
def test_what_does_not_go_together_is_refused(
    installed: Any, gpu: str | None, backend: str, precision: str, message: str
) -> None:
    installed(tensorrt=False, rtx=True)
    with pytest.raises(ExportError, match=message):
        choose_placement(gpu, backend, precision)


def test_compatible_engines_are_built_by_tensorrt_now(installed: Any) -> None:
    installed(tensorrt=True, rtx=True, gpus=(L4,))
    placement = choose_placement("l4", "auto", "auto", "ampere-plus")
    assert (placement.backend, placement.hardware_compatibility) == ("tensorrt", "ampere-plus")
    with pytest.raises(ExportError, match=r"built by TensorRT on a GPU\..*Use --hardware-compat"):
        choose_placement("l4", "tensorrt-rtx", "auto", "ampere-plus")
    with pytest.raises(ExportError, match="No h100 is here"):
        choose_placement("h100", "tensorrt", "auto", "ampere-plus")
    with pytest.raises(ExportError, match="hardware compatibility is 'all'; expected one of none"):
        choose_placement("l4", "tensorrt", "auto", "all")


def test_the_cpu_is_the_default() -> None:
    placement = choose_placement(None, "auto", "auto")
    assert (placement.name, placement.backend, placement.builds_now) == (
        "cpu",
        "onnxruntime",
        False,
    )


@pytest.mark.parametrize(
    ("gpu", "precision", "names"),
    [
        (None, "auto", ["fp32"]),
        (None, "int8", ["int8"]),
        ("l4", "auto", ["fp16", "bf16"]),
        ("t4", "auto", ["fp16"]),  # it has no bfloat16
        ("l4", "bf16", ["bf16"]),
    ],
)
def test_candidate_precisions(
    installed: Any, gpu: str | None, precision: str, names: list[str]
) -> None:
    installed(tensorrt=False, rtx=True)
    placement = choose_placement(gpu, "auto", precision)
    assert [one.name for one in placement.precisions] == names
    assert {one.processor for one in placement.precisions} == {"gpu" if gpu else "cpu"}
