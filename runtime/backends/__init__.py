"""One file per backend: building its engine where it needs one, and running it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from numpy.typing import NDArray

from mbert.errors import BackendError, InputError

from ..bundle import Bundle

if TYPE_CHECKING:
    from .cuda import Device
    from .onnxruntime import Operators


class Session(Protocol):
    """A loaded model; usable from several threads."""

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Compute the outputs, float32, in the order of the graph.

        Args:
            inputs: ``input_ids`` int32 [tokens], ``cu_seqlens`` int32 [sequences + 1] and, for
                fill-mask, ``mask_positions`` int32 [masks]; whatever the engine itself takes.

        Raises:
            BackendError: it could not be computed.
        """
        ...

    def close(self) -> None:
        """Free it. May be called again, and while calls are running."""
        ...


def open_session(
    bundle: Bundle, *, threads: int | None, device: str | None, operators: Operators
) -> Session:
    """Load the model of a bundle for the target that it was exported for.

    Args:
        bundle: an opened bundle.
        threads: of one call, on the CPU; None: one for each core that this process may use.
        device: None; "cpu" for a bundle for the CPU; "cuda" or "cuda:N" for one for a GPU.
        operators: "plugin" or "functions", with ONNX Runtime.

    Raises:
        InputError: operators that the backend does not have.
        BackendError: the backend or the GPU is missing, or refuses the bundle; a device that the
            bundle is not for.
    """
    # Each backend is imported only for its own bundles.
    manifest = bundle.manifest
    if operators != "plugin" and manifest.backend != "onnxruntime":
        raise InputError(
            f"operators is {operators!r}; {bundle.folder} runs on {manifest.backend}, which has no "
            "choice of operators."
        )
    if manifest.target == "cpu" and manifest.backend == "onnxruntime":
        if device not in (None, "cpu"):
            raise BackendError(f"device is {device!r}; {bundle.folder} runs on 'cpu'.")
        from .onnxruntime import OnnxRuntimeSession

        return OnnxRuntimeSession(bundle.model, threads, operators)
    gpu = _gpu(bundle, device)
    if manifest.backend == "onnxruntime":
        from .onnxruntime import OnnxRuntimeSession

        return OnnxRuntimeSession(bundle.model, threads, operators, gpu)
    from .tensorrt_load import load_session

    return load_session(bundle, gpu)


def _gpu(bundle: Bundle, device: str | None) -> Device:
    """The GPU for a bundle; never the CPU in its place."""
    from .cuda import parse_device, select

    try:
        return select(parse_device(device))
    except BackendError as error:
        manifest = bundle.manifest
        raise BackendError(
            f"{bundle.folder} was exported for {manifest.target} ({manifest.backend}). {error} "
            "Load it where there is such a GPU. For the CPU: Export with --cpu."
        ) from error
