"""TensorRT: builds on a GPU like the target, with plugins in the engine."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from mbert.errors import BackendError
from mbert.plugins import tensorrt_library

from ...cache import cache_folder, read_or_empty, replace_file
from ...manifest import Engine
from .. import cuda
from .api import Library, Log
from .build import build_engine
from .build_process import BuildReport, BuildRequest, Progress, Warn


class TensorRT(Library):
    """TensorRT.

    The engine contains the plugin library, so it also runs where mbert was built without CUDA.
    """

    title = "TensorRT"
    name = "tensorrt"
    module = "tensorrt"
    package = "tensorrt"
    domains = frozenset({"mbert"})
    builds_on_gpu = True

    def request(
        self, model: Path, path: Path, engine: Engine, device: int | None = None
    ) -> BuildRequest:
        """Describe an engine; raise unless TensorRT, the plugins and the GPU are here."""
        self.load()
        return BuildRequest(
            backend=self.name,
            model=os.fspath(model),
            engine=os.fspath(path),
            compute_capability=engine.compute_capability,
            profiles=engine.profiles,
            hardware_compatibility=engine.hardware_compatibility,
            device=_find_gpu(engine.compute_capability, device).index,
            plugins=(os.fspath(tensorrt_library()),),
        )

    def build_here(self, request: BuildRequest, progress: Progress, warn: Warn) -> BuildReport:
        """Build an engine in this process.

        The user's cache keeps the time that each kernel took, which shortens the next build.
        """
        assert request.device is not None
        gpu = cuda.select(request.device)
        level = request.hardware_compatibility.replace("-", "_").upper()
        timings = _timing_file(self.load().__version__, gpu.name)
        cache: Any = None

        def configure(config: Any) -> None:
            nonlocal cache
            levels = self.load().HardwareCompatibilityLevel
            config.hardware_compatibility_level = getattr(levels, level)
            cache = config.create_timing_cache(read_or_empty(timings))
            # Refused if it is damaged or from another version, driver or GPU.
            if cache is None or not config.set_timing_cache(cache, False):
                cache = config.create_timing_cache(b"")
                config.set_timing_cache(cache, False)

        report = build_engine(self, request, progress, warn, configure)
        if timings is not None:
            try:
                timings.parent.mkdir(parents=True, exist_ok=True)
                replace_file(timings, memoryview(cache.serialize()))
            except OSError as error:
                warn(f"The timing cache {timings} cannot be kept: {error.strerror}.")
        activation_bytes = self._activation_bytes(request, warn)
        return replace(report, activation_bytes=activation_bytes, gpu=gpu.name)

    def contexts(
        self, engine: Any, runtime_cache: Path | None, owned: ExitStack
    ) -> Callable[[], Any]:
        """Return a function that makes execution contexts."""
        strategy = self.load().ExecutionContextAllocationStrategy.USER_MANAGED
        return lambda: engine.create_execution_context(strategy)

    def _activation_bytes(self, request: BuildRequest, warn: Warn) -> tuple[int, ...]:
        """Query the activation memory of each profile; the log's format is not stable.

        Loading the engine also proves that it contains its plugins: the library was loaded into the
        builder's registry, not into the runtime's.
        """
        log = Log(self, warn)
        try:
            engine = self.deserialize(log, Path(request.engine).read_bytes())
        except OSError as error:
            raise BackendError(f"The engine cannot be read again: {error.strerror}.") from error
        if engine is None:
            raise BackendError(
                f"TensorRT {self.load().__version__} cannot load the engine that it has built: "
                f"{log.failure()}. Another backend may do: see --backend of mbert-export."
            )
        profiles = range(len(request.profiles))
        return tuple(map(engine.get_device_memory_size_for_profile_v2, profiles))


def _find_gpu(compute_capability: str, index: int | None) -> cuda.Device:
    """Return the GPU of this machine to build on for a compute capability."""
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


def _timing_file(version: str, gpu: str) -> Path | None:
    folder = cache_folder()
    name = re.sub(r"[^A-Za-z0-9.]+", "-", f"timings-{version}-{gpu}")
    return folder and folder / "tensorrt" / f"{name}.cache"
