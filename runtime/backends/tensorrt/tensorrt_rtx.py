"""TensorRT-RTX: builds on any machine for one compute capability, without plugins."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from mbert.errors import BackendError

from ...cache import read_or_empty, replace_file
from ...manifest import Engine
from .api import Library
from .build import build_engine
from .build_process import BuildReport, BuildRequest, Progress, Warn

_log = logging.getLogger("mbert")


class TensorRTRTX(Library):
    """TensorRT-RTX. Takes standard operators only, in float16 or bfloat16."""

    title = "TensorRT-RTX"
    name = "tensorrt-rtx"
    module = "tensorrt_rtx"
    package = "tensorrt-rtx-cu13"
    # Its compiler's name for softmax between two matrix products in one kernel.
    attention = re.compile(r"^Name: _gemm_mha")
    builds_on_gpu = False

    def supports(self, compute_capability: str) -> bool:
        """Return whether the installed version builds for a compute capability ("8.9")."""
        return self._find_capability(compute_capability) is not None

    def request(
        self, model: Path, path: Path, engine: Engine, device: int | None = None
    ) -> BuildRequest:
        """Describe an engine; raise unless TensorRT-RTX knows the compute capability."""
        self._capability(engine.compute_capability)
        return BuildRequest(
            backend=self.name,
            model=os.fspath(model),
            engine=os.fspath(path),
            compute_capability=engine.compute_capability,
            profiles=engine.profiles,
        )

    def build_here(self, request: BuildRequest, progress: Progress, warn: Warn) -> BuildReport:
        """Build an engine in this process; no GPU is needed."""

        def configure(config: Any) -> None:
            config.num_compute_capabilities = 1
            config.set_compute_capability(self._capability(request.compute_capability), 0)
            # A call that allocates memory cannot be captured into a CUDA graph.
            config.set_flag(self.load().BuilderFlag.REQUIRE_USER_ALLOCATION)

        return build_engine(self, request, progress, warn, configure)

    def contexts(
        self, engine: Any, runtime_cache: Path | None, owned: ExitStack
    ) -> Callable[[], Any]:
        """Return a function that makes execution contexts.

        TensorRT-RTX compiles kernels for the sizes that it meets; ``runtime_cache`` is the file
        that keeps them for the next process.
        """
        trt = self.load()
        config = engine.create_runtime_config()
        config.set_execution_context_allocation_strategy(
            trt.ExecutionContextAllocationStrategy.USER_MANAGED
        )
        # Before the first result: a captured graph keeps the kernels that it was captured with, and
        # equal calls must give equal results.
        config.dynamic_shapes_kernel_specialization_strategy = (
            trt.DynamicShapesKernelSpecializationStrategy.EAGER
        )
        kernels = config.create_runtime_cache()
        if runtime_cache is not None:
            cached = read_or_empty(runtime_cache)
            if cached and not kernels.deserialize(cached):
                _log.debug("%s is of another version or GPU; it will be replaced", runtime_cache)
            owned.callback(_keep_kernels, kernels, cached, runtime_cache)
        config.set_runtime_cache(kernels)
        return lambda: engine.create_execution_context(config)

    def _find_capability(self, compute_capability: str) -> Any:
        """Return the library's constant for a compute capability; None if it is unknown."""
        name = f"SM{compute_capability.replace('.', '')}"
        return getattr(self.load().ComputeCapability, name, None)

    def _capability(self, compute_capability: str) -> Any:
        capability = self._find_capability(compute_capability)
        if capability is None:
            trt = self.load()
            digits = (name.removeprefix("SM") for name in dir(trt.ComputeCapability))
            known = sorted(int(number) for number in digits if number.isdecimal())
            raise BackendError(
                f"TensorRT-RTX {trt.__version__} does not build for compute capability "
                f"{compute_capability}; it knows {', '.join(f'{n // 10}.{n % 10}' for n in known)}."
                " Export with --backend tensorrt."
            )
        return capability


def _keep_kernels(kernels: Any, before: bytes, file: Path) -> None:
    now = bytes(kernels.serialize())
    if now != before:
        try:
            replace_file(file, now)
        except OSError as error:
            _log.info("The compiled kernels cannot be kept in %s: %s.", file, error.strerror)
