"""Where a bundle runs, which backend runs it, and where its engine is built."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mbert.errors import BackendError, ExportError
from mbert.plugins import tensorrt_library
from mbert.runtime.backends.cuda import Device, local_devices
from mbert.runtime.backends.tensorrt import TENSORRT, TENSORRT_RTX
from mbert.runtime.manifest import BACKENDS, HARDWARE_COMPATIBILITY, PRECISIONS

from .precisions import AUTO, Precision, Processor, find_precision
from .targets import Target, find_target, target_of_card

_AT_FIRST_LOAD = (
    "The engine is built when the bundle is first loaded on its GPU, by TensorRT and the plugins "
    "of the mbert that is installed there."
)


@dataclass(frozen=True)
class Placement:
    """Target and backend of a bundle, and the precisions that both support.

    Attributes:
        target: a GPU; None for the CPU.
        backend: as in manifests.
        precisions: the candidates, the best first.
        builds_now: whether an engine is built during the export.
        reasons: sentences for the user: why this backend, and where the engine is built.
        hardware_compatibility: see :class:`mbert.runtime.manifest.Engine`.
        device: index of a GPU of this machine that is the target; None without one.
    """

    target: Target | None
    backend: str
    precisions: tuple[Precision, ...]
    builds_now: bool = False
    reasons: tuple[str, ...] = ()
    hardware_compatibility: str = "none"
    device: int | None = None

    @property
    def name(self) -> str:
        """Return the manifest's ``target``."""
        return self.target.name if self.target else "cpu"

    @property
    def processor(self) -> Processor:
        """Return the kind of processor."""
        return "gpu" if self.target else "cpu"


def choose_placement(
    gpu: str | None, backend: str, precision: str, hardware_compatibility: str = "none"
) -> Placement:
    """Choose the backend and the candidate precisions for a target.

    Args:
        gpu: see :func:`mbert.export.targets.find_target`; None: the CPU.
        backend: a name, or "auto".
        precision: a name, or "auto".
        hardware_compatibility: of TensorRT's engine.

    Raises:
        ExportError: a name is unknown, or backend, precision, target and compatibility do not go
            together.
        BackendError: the requested backend is not installed.
    """
    for what, value, known in (
        ("backend", backend, ("auto", *BACKENDS)),
        ("precision", precision, ("auto", *PRECISIONS)),
        ("hardware compatibility", hardware_compatibility, HARDWARE_COMPATIBILITY),
    ):
        if value not in known:
            raise ExportError(f"The {what} is {value!r}; expected one of {', '.join(known)}.")
    if gpu is None:
        placement = _place_on_cpu(backend, precision)
    else:
        target = find_target(gpu)
        device = _find_device(target, hardware_compatibility)
        placement = _place_on_gpu(target, device, backend, _candidates(precision, target))
        placement = replace(placement, device=None if device is None else device.index)
    if hardware_compatibility != "none" and not (
        placement.backend == TENSORRT.name and placement.builds_now
    ):
        raise ExportError(
            f"Engines for other GPUs as well ({hardware_compatibility}) are built by TensorRT on a "
            f"GPU. {' '.join(placement.reasons)} Use --hardware-compatibility none, or export "
            "where such a GPU is."
        )
    return replace(placement, hardware_compatibility=hardware_compatibility)


def _candidates(precision: str, target: Target | None) -> tuple[Precision, ...]:
    """Return the precisions to try, the best first."""
    processor: Processor = "gpu" if target else "cpu"
    if precision == "auto":
        found = [find_precision(name, processor) for name in AUTO[processor]]
        return tuple(one for one in found if one.target_refusal(target) is None)
    requested = find_precision(precision, processor)
    if (refusal := requested.target_refusal(target)) is not None:
        raise ExportError(f"{refusal} Use --precision {AUTO[processor][0]}.")
    return (requested,)


def _place_on_cpu(backend: str, precision: str) -> Placement:
    if backend not in ("auto", "onnxruntime"):
        raise ExportError(f"The backend {backend} is for GPUs. Name one with --gpu.")
    return Placement(None, "onnxruntime", _candidates(precision, None))


def _place_on_gpu(
    target: Target, device: Device | None, backend: str, precisions: tuple[Precision, ...]
) -> Placement:
    if backend == "onnxruntime":
        return Placement(target, backend, precisions)
    if backend == TENSORRT_RTX.name:
        if (missing := TENSORRT_RTX.unavailable()) is not None:
            raise BackendError(missing)
        if (refusal := _rtx_refusal(target, precisions)) is not None:
            raise ExportError(f"{refusal} Use --backend tensorrt.")
        return Placement(target, backend, precisions, True, _rtx_caveats(target))
    refusal = _tensorrt_refusal(target, device)
    if refusal is None and device is not None:
        reason = f"TensorRT: it is installed, and {device.name} is here."
        return Placement(target, TENSORRT.name, precisions, True, (reason,))
    if backend == TENSORRT.name:
        return Placement(target, backend, precisions, False, (f"{refusal} {_AT_FIRST_LOAD}",))
    rtx_refusal = TENSORRT_RTX.unavailable() or _rtx_refusal(target, precisions)
    if rtx_refusal is None:
        reason = f"TensorRT-RTX, which builds on any machine: {refusal}"
        reasons = (reason, *_rtx_caveats(target))
        return Placement(target, TENSORRT_RTX.name, precisions, True, reasons)
    reason = f"TensorRT: {rtx_refusal} {refusal} {_AT_FIRST_LOAD}"
    return Placement(target, TENSORRT.name, precisions, False, (reason,))


def _find_device(target: Target, compatibility: str) -> Device | None:
    """Return a GPU of this machine that can build and run the target's engine."""
    for device in local_devices():
        same_card = target.figures is None or target_of_card(device.name) is target
        if device.compute_capability == target.compute_capability and (
            same_card or compatibility != "none"
        ):
            return device
    return None


def _tensorrt_refusal(target: Target, device: Device | None) -> str | None:
    """Say why TensorRT cannot build here; None if it can."""
    if TENSORRT.unavailable() is not None:
        return "TensorRT is not installed here."
    if device is None:
        return f"No {target.name} is here."
    try:
        tensorrt_library()
    except BackendError as error:
        return str(error)
    return None


def _rtx_refusal(target: Target, precisions: Sequence[Precision]) -> str | None:
    """Say why TensorRT-RTX cannot build for a target or a precision; None if it can."""
    if not TENSORRT_RTX.supports(target.compute_capability):
        return f"TensorRT-RTX does not build for compute capability {target.compute_capability}."
    refusals = (precision.backend_refusal(TENSORRT_RTX.name) for precision in precisions)
    return next((refusal for refusal in refusals if refusal is not None), None)


def _rtx_caveats(target: Target) -> tuple[str, ...]:
    if target.geforce or target.figures is None:
        return ()
    return (
        "NVIDIA's support matrix for TensorRT-RTX lists GeForce-class cards; "
        f"{target.name} is not one.",
    )
