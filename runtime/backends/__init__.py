"""Backends that load and run a model: ONNX Runtime and the two TensorRTs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mbert.errors import BackendError, InputError

from ..engine import Session

if TYPE_CHECKING:
    from ..bundle import Bundle
    from .cuda import Device


def open_session(
    bundle: Bundle, *, threads: int | None, device: str | None, kernels: bool
) -> Session:
    """Load the model of a bundle for the target that it was exported for.

    Args:
        bundle: an opened bundle.
        threads: threads of one call on the CPU; None: one for each core that this process may use.
        device: "cpu" for a bundle for the CPU; "cuda" or "cuda:N" for one for a GPU; None: either.
        kernels: run mbert's kernels; False, with ONNX Runtime only: the standard operators that the
            bundle carries.

    Raises:
        InputError: ``kernels`` is False and the backend has no standard operators to run instead.
        BackendError: the backend or the GPU is missing or refuses the bundle, or the bundle is not
            for ``device``.
    """
    # A backend is imported only for its own bundles.
    manifest = bundle.manifest
    if not kernels and manifest.backend != "onnxruntime":
        raise InputError(
            f"kernels is False; {bundle.folder} runs on {manifest.backend}, which has no other "
            "operators. Pass kernels=True."
        )
    if manifest.target == "cpu" and manifest.backend == "onnxruntime":
        if device not in (None, "cpu"):
            raise BackendError(f"device is {device!r}; {bundle.folder} runs on 'cpu'.")
        from .onnxruntime import OnnxRuntimeSession

        return OnnxRuntimeSession(bundle.model, threads, kernels)
    gpu = _gpu(bundle, device)
    if manifest.backend == "onnxruntime":
        from .onnxruntime import OnnxRuntimeSession

        return OnnxRuntimeSession(bundle.model, threads, kernels, gpu)
    from .tensorrt.load import load_session

    return load_session(bundle, gpu)


def _gpu(bundle: Bundle, device: str | None) -> Device:
    """Return the GPU for a bundle; never fall back to the CPU."""
    from .cuda import parse_device, select

    try:
        return select(parse_device(device))
    except BackendError as error:
        manifest = bundle.manifest
        raise BackendError(
            f"{bundle.folder} was exported for {manifest.target} ({manifest.backend}). {error} "
            "Load it where there is such a GPU. For the CPU, export with --cpu."
        ) from error
