"""A double of the runtime half of ``tensorrt`` and ``tensorrt_rtx``, in numpy.

An engine's file is a placeholder; its :class:`FakeTensorRT` computes the outputs.
tests/runtime/backends/tensorrt/test_doubles.py compares names and parameters with the real modules.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mbert.runtime.backends.dtypes import host_dtype
from mbert.runtime.backends.tensorrt.profiles import shape_at
from mbert.runtime.manifest import Profile, TensorSpec
from support.fake_cuda import FakeCuda

Arrays = Mapping[str, NDArray[Any]]


class DataType(enum.Enum):
    INT32 = "int32"
    INT64 = "int64"
    BOOL = "bool"
    FLOAT = "float32"
    HALF = "float16"
    BF16 = "bfloat16"


class FakeTensorRT:
    """The module, with an engine of one signature and a log of calls."""

    DataType = DataType
    ExecutionContextAllocationStrategy = SimpleNamespace(USER_MANAGED="user managed")
    DynamicShapesKernelSpecializationStrategy = SimpleNamespace(EAGER="eager")

    class ILogger:
        Severity = enum.Enum("Severity", "INTERNAL_ERROR ERROR WARNING INFO VERBOSE")

    Builder = object

    def __init__(
        self,
        cuda: FakeCuda,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        profiles: Sequence[Profile],
        compute: Callable[[Arrays], Sequence[NDArray[Any]]],
        version: str = "1.7.1.116",
    ) -> None:
        self.__version__ = version
        self.__name__ = "fake_tensorrt"
        self.cuda = cuda
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self.profiles = tuple(profiles)
        self.compute = compute
        self.deserializes = True
        self.plugins: tuple[str, ...] = ()  # libraries in the engine
        self.runs = True
        self.contexts = 0
        self.cache = FakeCache()

    def Runtime(self, logger: Any) -> FakeRuntime:
        return FakeRuntime(self, logger)


class FakeRuntime:
    def __init__(self, trt: FakeTensorRT, logger: Any) -> None:
        self._trt = trt
        self._logger = logger
        self.engine_host_code_allowed = False

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> FakeEngine | None:
        if self._trt.deserializes and (self.engine_host_code_allowed or not self._trt.plugins):
            return FakeEngine(self._trt, self._logger)
        self._logger.log(self._trt.ILogger.Severity.ERROR, "the plan\n is of another kind")
        return None


class FakeEngine:
    def __init__(self, trt: FakeTensorRT, logger: Any) -> None:
        self.trt = trt
        self.logger = logger
        self._specs = (*trt.inputs, *trt.outputs)
        self.num_io_tensors = len(self._specs)
        self.num_optimization_profiles = len(trt.profiles)
        sizes = map(self.get_device_memory_size_for_profile_v2, range(len(trt.profiles)))
        self.device_memory_size_v2 = max(sizes)

    def get_tensor_name(self, index: int) -> str:
        return self._specs[index].name

    def get_tensor_dtype(self, name: str) -> DataType:
        return DataType(next(spec.dtype for spec in self._specs if spec.name == name))

    def get_device_memory_size_for_profile_v2(self, profile_index: int) -> int:
        return 1024 * (profile_index + 1)

    def create_runtime_config(self) -> FakeConfig:
        return FakeConfig(self.trt)

    def create_execution_context(self, runtime_config: Any) -> FakeContext:
        strategy = getattr(runtime_config, "strategy", runtime_config)
        assert strategy == self.trt.ExecutionContextAllocationStrategy.USER_MANAGED
        self.trt.contexts += 1
        return FakeContext(self)


class FakeConfig:
    def __init__(self, trt: FakeTensorRT) -> None:
        self._trt = trt
        self.dynamic_shapes_kernel_specialization_strategy: Any = None

    def set_execution_context_allocation_strategy(self, strategy: Any) -> None:
        self.strategy = strategy

    def create_runtime_cache(self) -> FakeCache:
        return self._trt.cache

    def set_runtime_cache(self, cache: FakeCache) -> bool:
        return True


class FakeCache:
    """A cache of compiled kernels; a stale one is refused."""

    def __init__(self) -> None:
        self.content = b"compiled"
        self.loaded: list[bytes] = []

    def deserialize(self, blob: bytes) -> bool:
        self.loaded.append(bytes(blob))
        return blob != b"stale"

    def serialize(self) -> bytes:
        return self.content


class FakeContext:
    """A context that refuses shapes outside the profile, and works in stream order."""

    def __init__(self, engine: FakeEngine) -> None:
        self._engine = engine
        self._profile = -1
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}

    def set_device_memory(self, memory: int, size: int) -> None:
        assert self._engine.trt.cuda.at(memory, size).size == self._engine.device_memory_size_v2

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        self._profile = profile_index
        return profile_index < len(self._engine.trt.profiles)

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        trt = self._engine.trt
        spec = next(spec for spec in trt.inputs if spec.name == name)
        ranges = trt.profiles[self._profile].ranges
        least, most = (
            shape_at(spec, {symbol: sizes[which] for symbol, sizes in ranges.items()})
            for which in (0, 2)
        )
        if not all(a <= b <= c for a, b, c in zip(least, shape, most, strict=True)):
            message = f"{name}: {shape} is outside of {least} to {most}"
            self._engine.logger.log(trt.ILogger.Severity.ERROR, message)
            return False
        self._shapes[name] = shape
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        trt = self._engine.trt
        output = next(spec for spec in trt.outputs if spec.name == name)
        sizes: dict[str, int] = {}
        for spec in trt.inputs:
            for dimension, size in zip(spec.shape, self._shapes[spec.name], strict=True):
                symbol, _, more = str(dimension).partition(" + ")
                sizes[symbol] = size - int(more or 0)
        return shape_at(output, sizes)

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._addresses[name] = memory
        return memory % 256 == 0

    def execute_async_v3(self, stream_handle: int) -> bool:
        trt = self._engine.trt
        if not trt.runs:
            self._engine.logger.log(trt.ILogger.Severity.ERROR, "a kernel is missing")
            return False

        def run() -> None:
            arrays = {
                spec.name: self._view(spec.name, spec.dtype, self._shapes[spec.name])
                for spec in trt.inputs
            }
            for spec, result in zip(trt.outputs, trt.compute(arrays), strict=True):
                self._view(spec.name, spec.dtype, result.shape)[...] = result

        trt.cuda.enqueue(stream_handle, run)
        return True

    def _view(self, name: str, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
        kind = host_dtype(dtype)
        size = int(np.prod(shape)) * kind.itemsize
        return self._engine.trt.cuda.at(self._addresses[name], size).view(kind).reshape(shape)
