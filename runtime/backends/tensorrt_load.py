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


_BACKENDS = {
    "tensorrt": _Backend(tensorrt.LIBRARY, tensorrt.build, tensorrt.contexts, "tensorrt=={}"),
    "tensorrt-rtx": _Backend(
        tensorrt_rtx.LIBRARY, tensorrt_rtx.build, tensorrt_rtx.contexts, "tensorrt-rtx-cu13=={}"
    ),
}


def build(
    backend: str, model: Path, path: Path, engine: Engine, progress: Progress | None = None
) -> BuildReport:
    """Build ``engine`` from the ONNX file ``model`` into the file ``path``, whole or not at all.

    Args:
        backend: "tensorrt" or "tensorrt-rtx".
        model: in the form that the backend takes.
        path: the engine's file.
        engine: what it is for.
        progress: called with what is being done and the part of the whole that is done, 0 to 1.

    Raises:
        BackendError: the backend is missing, cannot build for that GPU here, or refuses the model.
    """
    options = {}
    if backend == "tensorrt":
        options["hardware_compatibility"] = engine.hardware_compatibility
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
    _check_capability(bundle, engine, gpu)
    trt = backend.library.load()
    key = engine_key(bundle, engine, backend.library.builder(trt), engine.compute_capability)
    with ExitStack() as temporary:
        if engine.file is not None:
            _check_builder(bundle, engine, backend, trt)
            path = bundle.folder / engine.file
        else:
            what = f"the {backend.library.title} engine of {bundle.folder} for {gpu.name}"
            path = cached_engine(key, lambda path: _build(bundle, engine, path), what, temporary)
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


def _build(bundle: Bundle, engine: Engine, path: Path) -> None:
    build(
        bundle.manifest.backend,
        bundle.model,
        path,
        engine,
        lambda doing, part: _log.info("%s: %.0f%%", doing, 100 * part),
    )


def _check_capability(bundle: Bundle, engine: Engine, device: Device) -> None:
    if device.compute_capability == engine.compute_capability:
        return
    least = min(_number(device.compute_capability), _number(engine.compute_capability))
    built = engine.file is not None
    if built and engine.hardware_compatibility == "ampere-plus" and least >= (8, 0):
        return
    raise BackendError(
        f"{bundle.folder} was exported for {bundle.manifest.target}, compute capability "
        f"{engine.compute_capability}; cuda:{device.index} is a {device.name}, of "
        f"{device.compute_capability}. Pass device= to choose another GPU, or export with --gpu "
        f"sm_{device.compute_capability.replace('.', '')}."
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
