"""A double of the builder half of ``tensorrt`` that records calls.

tests/runtime/backends/tensorrt/test_doubles.py compares names and parameters with the real module.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mbert.runtime.manifest import TensorSpec
from mbert.runtime.onnx_names import node_domains
from support.fake_tensorrt import FakeTensorRT


class FakeBuilderLibrary(FakeTensorRT):
    """The module; ``config`` and ``registry`` belong to the latest builder."""

    NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1)
    ProfilingVerbosity = SimpleNamespace(DETAILED="detailed")
    BuilderFlag = SimpleNamespace(TF32="tf32")
    HardwareCompatibilityLevel = SimpleNamespace(
        NONE="none", SAME_COMPUTE_CAPABILITY="same", AMPERE_PLUS="newer"
    )
    IProgressMonitor = object
    config: FakeBuilderConfig
    registry: FakeRegistry
    takes_plugins = True

    def Builder(self, logger: Any) -> FakeBuilder:
        return FakeBuilder(self, logger)

    def OnnxParser(self, network: FakeNetwork, logger: Any) -> FakeParser:
        return FakeParser(network, logger)


class FakeBuilder:
    def __init__(self, trt: FakeBuilderLibrary, logger: Any) -> None:
        self.trt = trt
        trt.registry = FakeRegistry(trt, logger)

    def get_plugin_registry(self) -> FakeRegistry:
        return self.trt.registry

    def create_network(self, flags: int) -> FakeNetwork:
        assert flags == 1 << self.trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED
        return FakeNetwork(self.trt)

    def create_builder_config(self) -> FakeBuilderConfig:
        self.trt.config = FakeBuilderConfig()
        return self.trt.config

    def create_optimization_profile(self) -> FakeProfile:
        return FakeProfile()

    def build_serialized_network(self, network: FakeNetwork, config: FakeBuilderConfig) -> bytes:
        config.progress_monitor.phase_start("build", None, 1)
        config.progress_monitor.phase_finish("build")
        if config.timing_cache is not None:
            config.timing_cache.content += b"timed "
        self.trt.plugins = tuple(config.plugins_to_serialize)
        # A runtime has a separate registry, with the plugins that the engine brings.
        self.trt.deserializes &= set(self.trt.registry.loaded) <= set(self.trt.plugins)
        return b"engine"


class FakeRegistry:
    def __init__(self, trt: FakeBuilderLibrary, logger: Any) -> None:
        self._trt = trt
        self._logger = logger
        self.loaded: list[str] = []

    def load_library(self, plugin_path: str) -> object | None:
        if self._trt.takes_plugins:
            self.loaded.append(plugin_path)
            return object()
        self._logger.log(self._trt.ILogger.Severity.ERROR, "no such symbol")
        return None


class FakeNetwork:
    def __init__(self, trt: FakeBuilderLibrary) -> None:
        self.trt = trt
        self.num_inputs = len(trt.inputs)

    def get_input(self, index: int) -> FakeTensor:
        return FakeTensor(self.trt.inputs[index])


class FakeTensor:
    def __init__(self, spec: TensorSpec) -> None:
        self.name = spec.name
        self.dtype = spec.dtype
        self.shape = tuple(size if isinstance(size, int) else -1 for size in spec.shape)
        self._names = spec.shape

    def get_dimension_name(self, index: int) -> str:
        return str(self._names[index])


class FakeParser:
    """A parser that looks up plugin creators."""

    def __init__(self, network: FakeNetwork, logger: Any) -> None:
        self._network = network
        self._logger = logger

    def parse_from_file(self, model: str) -> bool:
        trt = self._network.trt
        if "mbert" not in node_domains(Path(model).read_bytes()) or trt.registry.loaded:
            return True
        self._logger.log(trt.ILogger.Severity.ERROR, "no creator of this plugin")
        return False


class FakeProfile:
    def __init__(self) -> None:
        self.shapes: dict[str, tuple[Any, Any, Any]] = {}

    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:
        self.shapes[input] = (min, opt, max)


class FakeBuilderConfig:
    """A config that refuses a timing cache that starts with ``stale``."""

    def __init__(self) -> None:
        self.flags = {"tf32"}
        self.profiles: list[FakeProfile] = []
        self.plugins_to_serialize: list[str] = []
        self.hardware_compatibility_level = "none"
        self.profiling_verbosity: Any = None
        self.progress_monitor: Any = None
        self.timing_cache: FakeTimingCache | None = None

    def clear_flag(self, flag: str) -> None:
        self.flags.discard(flag)

    def add_optimization_profile(self, profile: FakeProfile) -> int:
        self.profiles.append(profile)
        return len(self.profiles) - 1

    def create_timing_cache(self, serialized_timing_cache: bytes) -> FakeTimingCache | None:
        if serialized_timing_cache.startswith(b"damaged"):
            return None
        return FakeTimingCache(serialized_timing_cache)

    def set_timing_cache(self, cache: FakeTimingCache, ignore_mismatch: bool) -> bool:
        if cache.content.startswith(b"stale") and not ignore_mismatch:
            return False
        self.timing_cache = cache
        return True


class FakeTimingCache:
    def __init__(self, content: bytes) -> None:
        self.content = content

    def serialize(self) -> bytes:
        return self.content
