"""TensorRT: engines are built on a GPU of the target's kind, with mbert's plugins in them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from mbert.errors import BackendError
from mbert.plugins import tensorrt_library

from ..cache import cache_folder
from ..files import read_or_empty, replace_file
from ..manifest import Profile
from . import cuda
from .build_process import BuildReport, BuildRequest, Progress, build_in_child
from .tensorrt_api import Contexts, Library, Log
from .tensorrt_build import build_engine

LIBRARY = Library(
    title="TensorRT",
    backend="tensorrt",
    module="tensorrt",
    domains=frozenset({"mbert"}),
    attention=None,
)


def available() -> str | None:
    """Say why TensorRT cannot be used, with the command that installs it; None when it can."""
    return LIBRARY.unavailable()


def build(
    model: Path,
    engine: Path,
    *,
    compute_capability: str,
    profiles: Sequence[Profile],
    progress: Progress | None = None,
    hardware_compatibility: str = "none",
    device: int | None = None,
) -> BuildReport:
    """Build an engine on the GPU that it is to run on, or on one like it.

    The library of plugins goes into the engine, so it runs where mbert was built without CUDA.
    How long each kernel took is remembered in the user's cache: the next build is shorter.

    Args:
        model: an ONNX file; nodes of domain ``mbert`` become plugins.
        engine: the file to write.
        compute_capability: of the GPU that it is to run on, "8.9".
        profiles: ranges of the sizes, smallest first.
        progress: called with what is being done and the part of the whole that is done, 0 to 1.
        hardware_compatibility: see :class:`mbert.runtime.manifest.Engine`.
        device: index of the GPU to build on; None: the first of the compute capability.

    Raises:
        BackendError: TensorRT, the plugins or the GPU are missing, or TensorRT refuses the model.
    """
    LIBRARY.load()
    options = {
        "plugins": os.fspath(tensorrt_library()),
        "hardware_compatibility": hardware_compatibility,
        "device": _gpu(compute_capability, device).index,
    }
    request = BuildRequest(
        "tensorrt",
        os.fspath(model),
        os.fspath(engine),
        compute_capability,
        tuple(profiles),
        options,
    )
    return build_in_child(request, progress)


def build_here(
    request: BuildRequest, progress: Progress, warn: Callable[[str], None]
) -> BuildReport:
    """Build in this process; see :func:`build_engine`."""
    gpu = cuda.select(request.options["device"])
    level = request.options["hardware_compatibility"].replace("-", "_").upper()
    timings = _timing_file(LIBRARY.load().__version__, gpu.name)
    cache: Any = None

    def configure(trt: Any, config: Any) -> None:
        nonlocal cache
        config.hardware_compatibility_level = getattr(trt.HardwareCompatibilityLevel, level)
        cache = config.create_timing_cache(read_or_empty(timings))
        # Refused: of another version, driver or GPU, or damaged.
        if cache is None or not config.set_timing_cache(cache, False):
            cache = config.create_timing_cache(b"")
            config.set_timing_cache(cache, False)

    plugins = [request.options["plugins"]]
    report = build_engine(LIBRARY, request, progress, warn, configure, plugins)
    if timings is not None:
        try:
            timings.parent.mkdir(parents=True, exist_ok=True)
            replace_file(timings, memoryview(cache.serialize()))
        except OSError as error:
            warn(f"The timing cache {timings} cannot be kept: {error.strerror}.")
    activation_bytes = _activation_bytes(request, warn)
    return replace(report, activation_bytes=activation_bytes, gpu=gpu.name)


def _activation_bytes(request: BuildRequest, warn: Callable[[str], None]) -> tuple[int, ...]:
    """What each profile needs, by the engine itself: TensorRT's log gives it in no settled form.

    Loading the engine also shows that it brings its plugins: the library was loaded into the
    builder's registry, which is not the runtime's.
    """
    trt = LIBRARY.load()
    log = Log(trt, LIBRARY.attention, warn)
    try:
        engine = LIBRARY.deserialize(trt, log, Path(request.engine).read_bytes())
    except OSError as error:
        raise BackendError(f"The engine cannot be read again: {error.strerror}.") from error
    if engine is None:
        raise BackendError(
            f"TensorRT {trt.__version__} cannot load the engine that it has built: "
            f"{log.failure()}. Another backend may do: see --backend of mbert-export."
        )
    profiles = range(len(request.profiles))
    return tuple(map(engine.get_device_memory_size_for_profile_v2, profiles))


def _gpu(compute_capability: str, index: int | None) -> cuda.Device:
    """The GPU of this machine that an engine for a compute capability is built on."""
    candidates = cuda.devices() if index is None else [cuda.find(index)]
    for device in candidates:
        if device.compute_capability == compute_capability:
            return device
    here = ", ".join(
        f"cuda:{device.index} {device.name} ({device.compute_capability})" for device in candidates
    )
    raise BackendError(
        f"TensorRT builds for compute capability {compute_capability} on such a GPU only; found is "
        f"{here}. Export there, or with --backend tensorrt-rtx, which builds anywhere."
    )


def contexts(trt: Any, runtime_cache: Path | None) -> Contexts:
    """What makes the execution contexts of an engine; TensorRT compiles nothing while running."""

    def prepare(engine: Any, owned: ExitStack) -> Callable[[], Any]:
        handed = trt.ExecutionContextAllocationStrategy.USER_MANAGED
        return lambda: engine.create_execution_context(handed)

    return prepare


def _timing_file(version: str, gpu: str) -> Path | None:
    folder = cache_folder()
    name = re.sub(r"[^A-Za-z0-9.]+", "-", f"timings-{version}-{gpu}")
    return folder and folder / "tensorrt" / f"{name}.cache"
