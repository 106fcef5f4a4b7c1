"""From a bundle to a session of TensorRT or TensorRT-RTX: every check, then the engine."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mbert.errors import BackendError, BundleError

from ..bundle import Bundle
from ..manifest import Engine
from . import tensorrt, tensorrt_rtx
from .build_process import BuildReport, Progress
from .cuda import Device, Stream
from .engine_cache import cached_engine, engine_key, runtime_cache_file
from .tensorrt_api import Contexts, Library
from .tensorrt_session import TensorRTSession

_log = logging.getLogger("mbert")


@dataclass(frozen=True)
class _Backend:
    library: Library
    build: Callable[..., BuildReport]
    contexts: Callable[[Any, Path | None], Contexts]
    packages: str  # what to install to get one version, a pattern
    builds_on_gpu: bool


_BACKENDS = {
    "tensorrt": _Backend(
        tensorrt.LIBRARY, tensorrt.build, tensorrt.contexts, "tensorrt=={}", builds_on_gpu=True
    ),
    "tensorrt-rtx": _Backend(
        tensorrt_rtx.LIBRARY,
        tensorrt_rtx.build,
        tensorrt_rtx.contexts,
        "tensorrt-rtx-cu13=={}",
        builds_on_gpu=False,
    ),
}


def build(
    backend: str,
    model: Path,
    path: Path,
    engine: Engine,
    progress: Progress | None = None,
    device: int | None = None,
) -> BuildReport:
    """Build ``engine`` from the ONNX file ``model`` into the file ``path``, whole or not at all.

    Args:
        backend: "tensorrt" or "tensorrt-rtx".
        model: in the form that the backend takes.
        path: the engine's file.
        engine: what it is for.
        progress: called with what is being done and the part of the whole that is done, 0 to 1.
        device: index of the GPU to build on, where one is needed; None: the first that fits.

    Raises:
        BackendError: the backend is missing, cannot build for that GPU here, or refuses the model.
    """
    options: dict[str, Any] = {}
    if _BACKENDS[backend].builds_on_gpu:
        options = {"hardware_compatibility": engine.hardware_compatibility, "device": device}
    return _BACKENDS[backend].build(
        model,
        path,
        compute_capability=engine.compute_capability,
        profiles=engine.profiles,
        progress=progress,
        **options,
    )


def load_session(bundle: Bundle, gpu: Device) -> TensorRTSession:
    """Load the engine of ``bundle``, building it first if it was not exported with one.

    Raises:
        BundleError: the manifest describes no engine.
        BackendError: a GPU of another kind, a library that is missing or of another version, or an
            engine that it refuses.
    """
    engine = bundle.manifest.engine
    if engine is None:
        raise BundleError(
            f"{bundle.folder} is for {bundle.manifest.backend}, but its manifest describes no "
            "engine. Export again."
        )
    backend = _BACKENDS[bundle.manifest.backend]
    _check_gpu(bundle, engine, gpu)
    trt = backend.library.load()
    key = engine_key(
        bundle,
        engine,
        backend.library.builder(trt),
        gpu.name if backend.builds_on_gpu else None,
    )
    with ExitStack() as temporary:
        if engine.file is not None:
            _check_builder(bundle, engine, backend, trt)
            path = bundle.folder / engine.file
        else:
            what = f"the {backend.library.title} engine of {bundle.folder} for {gpu.name}"
            path = cached_engine(
                key, lambda path: _build(bundle, engine, path, gpu), what, temporary
            )
        stream = Stream(gpu.index)
        try:
            return TensorRTSession(
                backend.library,
                trt,
                bundle.manifest,
                engine,
                path,
                stream,
                backend.contexts(trt, runtime_cache_file(key)),
            )
        except BaseException:
            stream.close()
            raise


def _build(bundle: Bundle, engine: Engine, path: Path, gpu: Device) -> None:
    build(
        bundle.manifest.backend,
        bundle.model,
        path,
        engine,
        lambda doing, part: _log.info("%s: %.0f%%", doing, 100 * part),
        gpu.index,
    )


def _check_gpu(bundle: Bundle, engine: Engine, device: Device) -> None:
    if device.compute_capability == engine.compute_capability:
        _check_name(bundle, engine, device)
        return
    least = min(_number(device.compute_capability), _number(engine.compute_capability))
    reaches = engine.hardware_compatibility == "ampere-plus" and least >= (8, 0)
    built = engine.file is not None
    if reaches and built:
        return
    unbuilt = (
        f"Its engine, for {engine.hardware_compatibility}, is not built yet, which takes a GPU of "
        f"{engine.compute_capability}: export on such a machine, and the bundle brings it. "
    )
    raise BackendError(
        f"{bundle.folder} was exported for {bundle.manifest.target}, compute capability "
        f"{engine.compute_capability}; cuda:{device.index} is {device.name}, of "
        f"{device.compute_capability}. {unbuilt if reaches else ''}Pass device= to choose another "
        f"GPU, or export with --gpu sm_{device.compute_capability.replace('.', '')}."
    )


def _check_name(bundle: Bundle, engine: Engine, device: Device) -> None:
    """An engine of TensorRT without hardware compatibility is for the very model of GPU."""
    built_on = engine.gpu if engine.file is not None else None
    if engine.hardware_compatibility == "none" and built_on not in (None, device.name):
        raise BackendError(
            f"The engine of {bundle.folder} was built on {built_on}, and runs on that model of GPU "
            f"only; cuda:{device.index} is {device.name}. Pass device= to choose another GPU, "
            f"export on a machine that has {device.name}, or export with --hardware-compatibility "
            "same-compute-capability."
        )


def _check_builder(bundle: Bundle, engine: Engine, backend: _Backend, trt: Any) -> None:
    installed = backend.library.builder(trt)
    if engine.builder != installed:
        version = str(engine.builder).rpartition(" ")[2]
        raise BackendError(
            f"The engine of {bundle.folder} was built by {engine.builder}, and runs with that "
            f"version only; installed is {installed}. Install it with `pip install "
            f"{backend.packages.format(version)}`, or export again with this version."
        )


def _number(capability: str) -> tuple[int, ...]:
    return tuple(int(part) for part in capability.split("."))
