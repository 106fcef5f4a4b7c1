"""TensorRT: engines are built on a GPU of the target's kind, with mbert's plugins in them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from mbert.errors import BackendError
from mbert.plugins import tensorrt_library

from ..cache import cache_folder
from ..files import replace_file
from ..manifest import Profile
from . import cuda
from .build_process import BuildReport, BuildRequest, Progress, build_in_child
from .tensorrt_api import Contexts, Library
from .tensorrt_build import build_engine

LIBRARY = Library(
    title="TensorRT",
    backend="tensorrt",
    module="tensorrt",
    domains=frozenset({"mbert"}),
    attention=re.compile(r"LayerType: Plugin.*\bVarlenAttention\b"),
)


def available() -> str | None:
    """Say why TensorRT cannot be used, with the command that installs it; None when it can."""
    return LIBRARY.unavailable()


def supports(compute_capability: str) -> bool:
    """Whether an engine for a compute capability ("8.9") can be built here: on such a GPU only."""
    return compute_capability in cuda.local_capabilities()


def build(
    model: Path,
    engine: Path,
    *,
    compute_capability: str,
    profiles: Sequence[Profile],
    progress: Progress | None = None,
    hardware_compatibility: str = "none",
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

    Raises:
        BackendError: TensorRT, the plugins or the GPU are missing, or TensorRT refuses the model.
    """
    LIBRARY.load()
    _gpu(compute_capability)
    options = {
        "plugins": os.fspath(tensorrt_library()),
        "hardware_compatibility": hardware_compatibility,
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
    cuda.select(_gpu(request.compute_capability).index)
    plugins = request.options["plugins"]
    level = request.options["hardware_compatibility"].replace("-", "_").upper()
    timings = _timing_file(request.compute_capability)
    cache: Any = None

    def configure(trt: Any, builder: Any, config: Any) -> None:
        nonlocal cache
        builder.get_plugin_registry().load_library(plugins)
        config.plugins_to_serialize = [plugins]
        config.hardware_compatibility_level = getattr(trt.HardwareCompatibilityLevel, level)
        cache = config.create_timing_cache(_read(timings))
        config.set_timing_cache(cache, False)

    report = build_engine(LIBRARY, request, progress, warn, configure)
    if timings is not None:
        try:
            timings.parent.mkdir(parents=True, exist_ok=True)
            replace_file(timings, memoryview(cache.serialize()))
        except OSError as error:
            warn(f"The timing cache {timings} cannot be kept: {error.strerror}.")
    return report


def _gpu(compute_capability: str) -> cuda.Device:
    """A GPU of this machine that engines for a compute capability are built on."""
    found = cuda.devices()
    for device in found:
        if device.compute_capability == compute_capability:
            return device
    here = ", ".join(f"{device.name} ({device.compute_capability})" for device in found)
    raise BackendError(
        f"TensorRT builds for compute capability {compute_capability} on such a GPU only; here is "
        f"{here}. Export there, or with --backend tensorrt-rtx, which builds anywhere."
    )


def contexts(trt: Any, runtime_cache: Path | None) -> Contexts:
    """What makes the execution contexts of an engine; TensorRT compiles nothing while running."""

    def prepare(engine: Any, owned: ExitStack) -> Callable[[], Any]:
        handed = trt.ExecutionContextAllocationStrategy.USER_MANAGED
        return lambda: engine.create_execution_context(handed)

    return prepare


def _timing_file(compute_capability: str) -> Path | None:
    folder = cache_folder()
    return folder and folder / "tensorrt" / f"timings-{compute_capability}.cache"


def _read(path: Path | None) -> bytes:
    """A timing cache of another version or GPU is found out, and left, by TensorRT."""
    try:
        return path.read_bytes() if path is not None else b""
    except OSError:
        return b""
