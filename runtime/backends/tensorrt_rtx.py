"""TensorRT-RTX: engines are built on any machine, for one compute capability, without plugins."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from mbert.errors import BackendError

from ..files import read_or_empty, replace_file
from ..manifest import Profile
from .build_process import BuildReport, BuildRequest, Progress, build_in_child
from .tensorrt_api import Contexts, Library
from .tensorrt_build import build_engine

LIBRARY = Library(
    title="TensorRT-RTX",
    backend="tensorrt-rtx",
    module="tensorrt_rtx",
    domains=frozenset(),
    # Its compiler's name for softmax between two matrix products in one kernel.
    attention=re.compile(r"^Name: _gemm_mha"),
)

_log = logging.getLogger("mbert")


def available() -> str | None:
    """Say why TensorRT-RTX cannot be used, with the command that installs it; None when it can."""
    return LIBRARY.unavailable()


def supports(compute_capability: str) -> bool:
    """Whether the installed version builds for a compute capability ("8.9")."""
    return _capability(LIBRARY.load(), compute_capability) is not None


def build(
    model: Path,
    engine: Path,
    *,
    compute_capability: str,
    profiles: Sequence[Profile],
    progress: Progress | None = None,
) -> BuildReport:
    """Build an engine; no GPU is needed.

    Args:
        model: an ONNX file with standard operators only, float16 or bfloat16.
        engine: the file to write.
        compute_capability: of the GPU that it is to run on, "8.9".
        profiles: ranges of the sizes, smallest first.
        progress: called with what is being done and the part of the whole that is done, 0 to 1.

    Raises:
        BackendError: TensorRT-RTX is missing, does not know the compute capability, or refuses the
            model.
    """
    _target(LIBRARY.load(), compute_capability)
    request = BuildRequest(
        "tensorrt_rtx",
        os.fspath(model),
        os.fspath(engine),
        compute_capability,
        tuple(profiles),
        {},
    )
    return build_in_child(request, progress)


def build_here(
    request: BuildRequest, progress: Progress, warn: Callable[[str], None]
) -> BuildReport:
    """Build in this process; see :func:`build_engine`."""

    def configure(trt: Any, config: Any) -> None:
        config.num_compute_capabilities = 1
        config.set_compute_capability(_target(trt, request.compute_capability), 0)
        # Nothing is allocated while a call runs: only so can it be captured into a CUDA graph.
        config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)

    return build_engine(LIBRARY, request, progress, warn, configure)


def contexts(trt: Any, runtime_cache: Path | None) -> Contexts:
    """What makes the execution contexts of an engine.

    TensorRT-RTX compiles kernels for the sizes that it meets; ``runtime_cache`` is the file that
    keeps them from one process to the next.
    """

    def prepare(engine: Any, owned: ExitStack) -> Callable[[], Any]:
        config = engine.create_runtime_config()
        config.set_execution_context_allocation_strategy(
            trt.ExecutionContextAllocationStrategy.USER_MANAGED
        )
        # Before the first result: a captured graph keeps the kernels that it was captured with, and
        # equal calls give equal results.
        config.dynamic_shapes_kernel_specialization_strategy = (
            trt.DynamicShapesKernelSpecializationStrategy.EAGER
        )
        kernels = config.create_runtime_cache()
        if runtime_cache is not None:
            kept = read_or_empty(runtime_cache)
            if kept and not kernels.deserialize(kept):
                _log.debug("%s is of another version or GPU; it will be replaced", runtime_cache)
            owned.callback(_keep, kernels, kept, runtime_cache)
        config.set_runtime_cache(kernels)
        return lambda: engine.create_execution_context(config)

    return prepare


def _keep(kernels: Any, before: bytes, file: Path) -> None:
    now = bytes(kernels.serialize())
    if now != before:
        try:
            replace_file(file, now)
        except OSError as error:
            _log.info("The compiled kernels cannot be kept in %s: %s.", file, error.strerror)


def _capability(trt: Any, compute_capability: str) -> Any:
    """The library's constant for a compute capability; None where it has none."""
    return getattr(trt.ComputeCapability, f"SM{compute_capability.replace('.', '')}", None)


def _target(trt: Any, compute_capability: str) -> Any:
    target = _capability(trt, compute_capability)
    if target is None:
        digits = (name.removeprefix("SM") for name in dir(trt.ComputeCapability))
        known = sorted(int(number) for number in digits if number.isdecimal())
        raise BackendError(
            f"TensorRT-RTX {trt.__version__} does not build for compute capability "
            f"{compute_capability}; it knows {', '.join(f'{n // 10}.{n % 10}' for n in known)}. "
            "Export with --backend tensorrt."
        )
    return target
