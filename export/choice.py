"""What a bundle is compiled for and with: target, backend and precision, and why."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mbert.errors import BackendError, ExportError
from mbert.plugins import tensorrt_library
from mbert.runtime.backends.cuda import Device, local_devices
from mbert.runtime.backends.tensorrt import TENSORRT, TENSORRT_RTX
from mbert.runtime.manifest import BACKENDS, HARDWARE_COMPATIBILITY, PRECISIONS

from .targets import Target, find_target, target_of_card


@dataclass(frozen=True)
class Choice:
    """Where the bundle runs and how it gets its engine.

    Attributes:
        target: None for the CPU.
        backend: one of the manifest's.
        builds_now: whether an engine is built during the export.
        reasons: sentences for the user.
        hardware_compatibility: see :class:`mbert.runtime.manifest.Engine`.
        device: index of a GPU here that is the target; None where there is none.
    """

    target: Target | None
    backend: str
    builds_now: bool
    reasons: tuple[str, ...] = ()
    hardware_compatibility: str = "none"
    device: int | None = None

    @property
    def name(self) -> str:
        """The manifest's ``target``."""
        return self.target.name if self.target else "cpu"


def choose(
    gpu: str | None, backend: str, precision: str, hardware_compatibility: str = "none"
) -> Choice:
    """Choose the backend for ``gpu`` (None: the CPU); ``backend`` may be "auto".

    Raises:
        ExportError: unknown names; a precision, a target or a compatibility that the backend does
            not have.
        BackendError: the backend that was asked for is not installed.
    """
    for what, value, known in (
        ("backend", backend, ("auto", *BACKENDS)),
        ("precision", precision, ("auto", *PRECISIONS)),
        ("hardware compatibility", hardware_compatibility, HARDWARE_COMPATIBILITY),
    ):
        if value not in known:
            raise ExportError(f"The {what} is {value!r}; expected one of {', '.join(known)}.")
    here: Device | None = None
    if gpu is None:
        choice = _choose_cpu(backend, precision)
    else:
        target = find_target(gpu)
        here = _find_here(target, hardware_compatibility)
        choice = _choose_gpu(target, here, backend, precision)
    if hardware_compatibility != "none" and not (
        choice.backend == "tensorrt" and choice.builds_now
    ):
        raise ExportError(
            f"Engines for other GPUs as well ({hardware_compatibility}) are built by TensorRT on a "
            f"GPU. {' '.join(choice.reasons)} Use --hardware-compatibility none, or export where "
            "such a GPU is."
        )
    device = here.index if here is not None else None
    return replace(choice, hardware_compatibility=hardware_compatibility, device=device)


def _choose_cpu(backend: str, precision: str) -> Choice:
    if backend not in ("auto", "onnxruntime"):
        raise ExportError(f"The backend {backend} is for GPUs. Name one with --gpu.")
    if precision == "fp16":
        raise ExportError(
            "On the CPU the precision is fp32, bf16 or int8; fp16 is for GPUs (--gpu)."
        )
    return Choice(None, "onnxruntime", False)


def _choose_gpu(target: Target, here: Device | None, backend: str, precision: str) -> Choice:
    if precision == "int8":
        raise ExportError("int8 is for CPUs (--cpu). On a GPU the precision is fp16, bf16 or fp32.")
    if precision == "bf16" and not target.has_bfloat16:
        raise ExportError(
            f"{target.name} (compute capability {target.compute_capability}) has no bfloat16; "
            "it begins with 8.0. Use --precision fp16."
        )
    if backend == "onnxruntime":
        return Choice(target, backend, False)
    if backend == "tensorrt-rtx":
        if (missing := TENSORRT_RTX.unavailable()) is not None:
            raise BackendError(missing)
        if (unsuited := _unsuited_for_rtx(target, precision)) is not None:
            raise ExportError(f"{unsuited} Use --backend tensorrt.")
        return Choice(target, backend, True, _about_rtx(target))
    refusal = _tensorrt_refusal(target, here)
    if refusal is None and here is not None:
        return Choice(
            target, "tensorrt", True, (f"TensorRT: it is installed, and {here.name} is here.",)
        )
    if backend == "tensorrt":
        return Choice(target, backend, False, (f"{refusal} {_AT_FIRST_LOAD}",))
    unsuited = TENSORRT_RTX.unavailable() or _unsuited_for_rtx(target, precision)
    if unsuited is None:
        reason = f"TensorRT-RTX, which builds on any machine: {refusal}"
        return Choice(target, "tensorrt-rtx", True, (reason, *_about_rtx(target)))
    return Choice(target, "tensorrt", False, (f"TensorRT: {unsuited} {refusal} {_AT_FIRST_LOAD}",))


_AT_FIRST_LOAD = (
    "The engine is built when the bundle is first loaded on its GPU, by TensorRT and the plugins "
    "of the mbert that is installed there."
)


def _find_here(target: Target, compatibility: str) -> Device | None:
    """A GPU of this machine that the target's engine can be built on, and run."""
    for device in local_devices():
        same_card = target.figures is None or target_of_card(device.name) is target
        if device.compute_capability == target.compute_capability and (
            same_card or compatibility != "none"
        ):
            return device
    return None


def _tensorrt_refusal(target: Target, here: Device | None) -> str | None:
    """Say why TensorRT cannot build here; None when it can."""
    if TENSORRT.unavailable() is not None:
        return "TensorRT is not installed here."
    if here is None:
        return f"No {target.name} is here."
    try:
        tensorrt_library()
    except BackendError as error:
        return str(error)
    return None


def _unsuited_for_rtx(target: Target, precision: str) -> str | None:
    if not TENSORRT_RTX.supports(target.compute_capability):
        return f"TensorRT-RTX does not build for compute capability {target.compute_capability}."
    if precision == "fp32":
        return "TensorRT-RTX has no fused attention in float32."
    return None


def _about_rtx(target: Target) -> tuple[str, ...]:
    if target.geforce or target.figures is None:
        return ()
    return (
        "NVIDIA's support matrix for TensorRT-RTX lists GeForce-class cards; "
        f"{target.name} is not one.",
    )


def choose_precision(
    asked: str, choice: Choice, against_float16: str | None
) -> tuple[str, str | None]:
    """Settle the precision of a GPU bundle: its name, and a sentence where it was chosen.

    float16 is the first choice: as fast as bfloat16, with eight times finer steps.

    Args:
        asked: "auto" or a precision.
        choice: of target and backend.
        against_float16: what does not fit into float16; None when all does.

    Raises:
        ExportError: float16 was asked for and would overflow, or nothing else is there to take.
    """
    assert choice.target is not None
    bfloat16 = choice.target.has_bfloat16
    if asked in ("fp32", "bf16"):
        return asked, None
    if against_float16 is None:
        return "fp16", None if asked == "fp16" else "fp16: all activations fit."
    if asked == "auto" and bfloat16:
        return "bf16", f"bf16, since {against_float16}."
    way_out = (
        "Export with --precision bf16."
        if bfloat16
        else f"{choice.target.name} has no bfloat16: export with --precision fp32 --backend "
        "tensorrt, or for a GPU of compute capability 8.0 or newer."
    )
    raise ExportError(f"In float16 this model would overflow: {against_float16}. {way_out}")
