"""Run an engine of TensorRT or TensorRT-RTX."""

from __future__ import annotations

import logging
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from mbert.errors import BackendError

from ...manifest import Engine, Manifest, TensorSpec
from ..cuda import Stream
from ..dtypes import as_float32, host_dtype
from .api import Library, Log
from .buffers import Slot, capacity, lay_out, span
from .calls import Call, compute

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

_log = logging.getLogger("mbert")

# Sizes of calls whose execution context, and CUDA graph if they recur, is kept. All share the
# memory for activations.
_SIZES = 64


class LRUCache(Generic[Key, Value]):
    """Keeps the ``capacity`` most recently used values; not thread-safe."""

    def __init__(self, capacity: int, drop: Callable[[Value], None]) -> None:
        """``drop`` is called with each value that leaves."""
        self._capacity = capacity
        self._drop = drop
        self._values: OrderedDict[Key, Value] = OrderedDict()

    def __len__(self) -> int:
        """Return the number of values."""
        return len(self._values)

    def get(self, key: Key, make: Callable[[], Value]) -> Value:
        """Return the value of ``key``; make it if it is not there."""
        if key in self._values:
            self._values.move_to_end(key)
            return self._values[key]
        # Dropped first, so that the new value can use the memory.
        while len(self._values) >= self._capacity:
            self._drop(self._values.popitem(last=False)[1])
        self._values[key] = make()
        return self._values[key]

    def clear(self) -> None:
        """Drop everything."""
        while self._values:
            self._drop(self._values.popitem()[1])


@dataclass
class _Prepared:
    """Everything that calls of the same sizes share.

    Each size has its own context: a captured graph reads from it, so it must not change.
    """

    context: Any
    inputs: dict[str, Slot]
    outputs: dict[str, Slot]
    met: bool = False
    capturable: bool = True
    graph: Any = None


class TensorRTSession:
    """A loaded engine; thread-safe, with calls running one by one.

    Loading allocates the inputs, activations and outputs of the largest call of any profile. Calls
    of the same sizes share an execution context and, from the second call, a CUDA graph: their
    memory comes on top, for up to 64 sizes at a time.
    """

    def __init__(
        self,
        library: Library,
        manifest: Manifest,
        engine: Engine,
        path: Path,
        stream: Stream,
        runtime_cache: Path | None = None,
    ) -> None:
        """Load the engine.

        Args:
            library: the one that built the engine.
            manifest: of the bundle; its inputs and outputs.
            engine: the manifest's entry for the engine.
            path: the engine's file; it may be removed afterwards.
            stream: of the device to run on; the session closes it once loading has succeeded.
            runtime_cache: the file that keeps kernels compiled while running; None: nowhere.

        Raises:
            BackendError: the library refuses the engine, or the GPU has too little memory.
        """
        trt = library.load()
        self._engine = engine
        self._inputs = manifest.inputs
        self._outputs = manifest.outputs
        self._title = library.title
        self._stream = stream
        self._lock = threading.Lock()
        self._open = True
        self._log = Log(library, _log.warning)
        self._cuda_engine = library.deserialize(self._log, _read(path))
        if self._cuda_engine is None:
            raise BackendError(
                f"{library.title} {trt.__version__} cannot load the engine {path}: "
                f"{self._log.failure()}. Export again, or delete the file if it lies in mbert's "
                "cache."
            )
        self._check_signature(trt, path)
        self._dtypes = {spec.name: host_dtype(spec.dtype) for spec in self._tensors}
        self._allocate()
        # Closed in the reverse order: graphs and contexts go before the memory that they use.
        owned = ExitStack()
        owned.callback(stream.close)
        self._new_context = library.contexts(self._cuda_engine, runtime_cache, owned)
        self._prepared: LRUCache[tuple[Any, ...], _Prepared] = LRUCache(_SIZES, _dropper(stream))
        owned.callback(self._prepared.clear)
        self._finalizer = weakref.finalize(self, owned.close)
        _log.debug("loaded %s on %s", path, stream.device)

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Compute the outputs for a packed batch, in float32, in the order of the graph.

        Raises:
            BackendError: closed, or the GPU failed.
        """
        with self._lock:
            if not self._open:
                raise BackendError("The model has been closed. Load it again.")
            self._stream.make_current()
            return compute(inputs, self._engine, self._inputs, self._outputs, self._run)

    def close(self) -> None:
        """Free the engine and its memory; a call that is running ends first."""
        with self._lock:
            self._open = False
            self._finalizer()

    @property
    def _tensors(self) -> tuple[TensorSpec, ...]:
        return (*self._inputs, *self._outputs)

    def _run(self, call: Call) -> list[NDArray[np.float32]]:
        """Run one call; return its real rows, which may be views of the staging buffer."""
        key = (call.profile, *sorted(call.sizes.items()))
        prepared = self._prepared.get(key, lambda: self._prepare(call))
        for name, slot in prepared.inputs.items():
            slot.of(self._host_inputs)[...] = call.feeds[name]
        # Most sizes occur once; and the first run does set-up that a capture must not contain.
        if prepared.met and prepared.capturable and prepared.graph is None:
            prepared.graph = self._stream.capture(lambda: self._issue(prepared))
            prepared.capturable = prepared.graph is not None
            if not prepared.capturable:
                _log.debug("calls of %s go without a CUDA graph", key)
        if prepared.graph is not None:
            self._stream.launch(prepared.graph)
        else:
            self._issue(prepared)
        self._stream.synchronize()
        prepared.met = True
        return [
            as_float32(
                prepared.outputs[spec.name].of(self._host_outputs)[: call.rows_of(spec).size]
            )
            for spec in self._outputs
        ]

    def _prepare(self, call: Call) -> _Prepared:
        context = self._new_context()
        if context is None:
            raise self._failed("make an execution context")
        prepared = _Prepared(
            context,
            lay_out(self._inputs, self._dtypes, call.sizes),
            lay_out(self._outputs, self._dtypes, call.sizes),
        )
        succeeded = context.set_optimization_profile_async(call.profile, self._stream.handle)
        context.set_device_memory(self._activations, self._cuda_engine.device_memory_size_v2)
        for name, slot in prepared.inputs.items():
            succeeded = succeeded and context.set_input_shape(name, slot.shape)
            succeeded = succeeded and context.set_tensor_address(
                name, self._device_inputs + slot.offset
            )
        for name, slot in prepared.outputs.items():
            succeeded = succeeded and context.set_tensor_address(
                name, self._device_outputs + slot.offset
            )
        if not succeeded:
            raise self._failed(f"take the sizes {call.sizes}")
        for name, slot in prepared.outputs.items():
            shape = tuple(context.get_tensor_shape(name))
            if shape != slot.shape:  # a larger one would be written past its memory
                raise BackendError(
                    f"The engine gives {name!r} of shape {list(shape)} for the sizes {call.sizes}; "
                    f"the bundle says {list(slot.shape)}. Export again."
                )
        return prepared

    def _issue(self, prepared: _Prepared) -> None:
        """Enqueue a whole call: one copy in, the layers, one copy out."""
        used = span(prepared.inputs)
        self._stream.upload(self._device_inputs, self._host_inputs[:used])
        if not prepared.context.execute_async_v3(self._stream.handle):
            raise self._failed("run")
        used = span(prepared.outputs)
        self._stream.download(self._host_outputs[:used], self._device_outputs)

    def _allocate(self) -> None:
        profiles = self._engine.profiles
        inputs = capacity(self._inputs, self._dtypes, profiles)
        outputs = capacity(self._outputs, self._dtypes, profiles)
        self._activations = self._stream.allocate(self._cuda_engine.device_memory_size_v2)
        self._device_inputs = self._stream.allocate(inputs)
        self._device_outputs = self._stream.allocate(outputs)
        self._host_inputs = self._stream.allocate_host(inputs)
        self._host_outputs = self._stream.allocate_host(outputs)

    def _check_signature(self, trt: Any, path: Path) -> None:
        """Raise unless the engine has the signature and the profiles of the manifest."""
        expected = {spec.name: spec.dtype for spec in self._tensors}
        found = _dtypes(trt, self._cuda_engine)
        profiles = self._cuda_engine.num_optimization_profiles
        if found != expected or profiles != len(self._engine.profiles):
            raise BackendError(
                f"The engine {path} has inputs and outputs {_listed(found)} and {profiles} "
                f"profiles; the bundle says {_listed(expected)} and {len(self._engine.profiles)}. "
                "Export again."
            )

    def _failed(self, what: str) -> BackendError:
        return BackendError(f"{self._title} failed to {what}: {self._log.failure()}.")


def _dropper(stream: Stream) -> Callable[[_Prepared], None]:
    def drop(prepared: _Prepared) -> None:
        if prepared.graph is not None:
            stream.destroy(prepared.graph)
        prepared.graph = prepared.context = None

    return drop


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BackendError(f"The engine {path} cannot be read: {error.strerror}.") from error


def _dtypes(trt: Any, engine: Any) -> dict[str, str]:
    """Return the types of inputs and outputs, in the manifest's names.

    Types that manifests do not have are named as the library names them.
    """
    known = {
        trt.DataType.INT32: "int32",
        trt.DataType.BOOL: "bool",
        trt.DataType.FLOAT: "float32",
        trt.DataType.HALF: "float16",
        trt.DataType.BF16: "bfloat16",
    }
    types = {
        name: engine.get_tensor_dtype(name)
        for name in map(engine.get_tensor_name, range(engine.num_io_tensors))
    }
    return {name: known.get(dtype, str(dtype)) for name, dtype in types.items()}


def _listed(dtypes: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {dtype}" for name, dtype in sorted(dtypes.items()))
