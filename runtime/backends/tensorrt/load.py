"""Check the machine, then load a bundle's engine."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from pathlib import Path

from mbert.errors import BackendError, BundleError

from ...bundle import Bundle
from ...manifest import Engine
from ..cuda import Device, Stream
from . import LIBRARIES
from .api import Library
from .cache import cached_engine, engine_key, runtime_cache_file
from .session import TensorRTSession

_log = logging.getLogger("mbert")


def load_session(bundle: Bundle, gpu: Device) -> TensorRTSession:
    """Load the engine of ``bundle``; build it first if the bundle brings none.

    Raises:
        BundleError: the manifest describes no engine.
        BackendError: the GPU is of another kind, the library is missing or of another version, or
            it refuses the engine.
    """
    manifest = bundle.manifest
    engine = manifest.engine
    if engine is None:
        raise BundleError(
            f"{bundle.folder} is for {manifest.backend}, but its manifest describes no engine. "
            "Export again."
        )
    library = LIBRARIES[manifest.backend]
    _check_gpu(bundle, engine, gpu)
    key = engine_key(bundle, engine, library.version, gpu.name if library.builds_on_gpu else None)
    with ExitStack() as temporary:
        if engine.file is not None:
            _check_version(bundle, engine, library)
            path = bundle.folder / engine.file
        else:
            path = _built_engine(bundle, engine, library, gpu, key, temporary)
        stream = Stream(gpu.index)
        try:
            return TensorRTSession(library, manifest, engine, path, stream, runtime_cache_file(key))
        except BaseException:
            stream.close()
            raise


def _built_engine(
    bundle: Bundle, engine: Engine, library: Library, gpu: Device, key: str, temporary: ExitStack
) -> Path:
    def log_progress(phase: str, fraction: float) -> None:
        _log.info("%s: %.0f%%", phase, 100 * fraction)

    def build(path: Path) -> None:
        library.build(bundle.model, path, engine, log_progress, gpu.index)

    what = f"the {library.title} engine of {bundle.folder} for {gpu.name}"
    return cached_engine(key, build, what, temporary)


def _check_gpu(bundle: Bundle, engine: Engine, device: Device) -> None:
    if device.compute_capability == engine.compute_capability:
        _check_name(bundle, engine, device)
        return
    least = min(_number(device.compute_capability), _number(engine.compute_capability))
    compatible = engine.hardware_compatibility == "ampere-plus" and least >= (8, 0)
    if compatible and engine.file is not None:
        return
    unbuilt = (
        f"Its engine, for {engine.hardware_compatibility}, is not built yet, which takes a GPU of "
        f"{engine.compute_capability}: export on such a machine, and the bundle brings it. "
    )
    raise BackendError(
        f"{bundle.folder} was exported for {bundle.manifest.target}, compute capability "
        f"{engine.compute_capability}; cuda:{device.index} is {device.name}, of "
        f"{device.compute_capability}. {unbuilt if compatible else ''}Pass device= to choose "
        f"another GPU, or export with --gpu sm_{device.compute_capability.replace('.', '')}."
    )


def _check_name(bundle: Bundle, engine: Engine, device: Device) -> None:
    """Raise if TensorRT built the engine for another model of GPU only."""
    built_on = engine.gpu if engine.file is not None else None
    if engine.hardware_compatibility == "none" and built_on not in (None, device.name):
        raise BackendError(
            f"The engine of {bundle.folder} was built on {built_on}, and runs on that model of GPU "
            f"only; cuda:{device.index} is {device.name}. Pass device= to choose another GPU, "
            f"export on a machine that has {device.name}, or export with --hardware-compatibility "
            "same-compute-capability."
        )


def _check_version(bundle: Bundle, engine: Engine, library: Library) -> None:
    installed = library.version
    if engine.builder != installed:
        version = str(engine.builder).rpartition(" ")[2]
        raise BackendError(
            f"The engine of {bundle.folder} was built by {engine.builder}, and runs with that "
            f"version only; installed is {installed}. Install it with `pip install "
            f"{library.package}=={version}`, or export again with this version."
        )


def _number(capability: str) -> tuple[int, ...]:
    return tuple(int(part) for part in capability.split("."))
