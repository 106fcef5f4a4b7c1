"""Running an engine of TensorRT or TensorRT-RTX."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mbert.errors import BackendError

from ..calls import Call, compute
from ..manifest import Engine, Manifest
from .buffers import Slot, as_float32, capacity, lay_out, span
from .cuda import Stream
from .recent import Recent
from .tensorrt_api import Contexts, Library, Log

_log = logging.getLogger("mbert")

# Sizes whose captured graphs are kept, each with an execution context. Device memory is shared by
# all of them.
_GRAPHS = 64


@dataclass
class _Prepared:
    """Everything that calls of the same sizes share.

    A context of their own: what a captured graph reads from it must stay as it was.
    """

    context: Any
    inputs: dict[str, Slot]
    outputs: dict[str, Slot]
    graph: Any = None
    capturable: bool = True


class TensorRTSession:
    """A loaded engine. :meth:`run` may be called from several threads; calls run one by one.

    Memory for the largest call of any profile is taken at loading, and no more while running. Calls
    of the same sizes share a CUDA graph, from the second one on.
    """

    def __init__(
        self,
        library: Library,
        trt: Any,
        manifest: Manifest,
        engine: Engine,
        path: Path,
        stream: Stream,
        contexts: Contexts,
    ) -> None:
        """Load the engine.

        Args:
            library: the one that built the engine.
            trt: its module.
            manifest: signature and output of the bundle.
            engine: what the bundle says about the engine.
            path: the engine's file, not needed any more afterwards.
            stream: on the device that it is to run on; closed with the session, once there is one.
            contexts: gives what makes execution contexts that are handed their memory.

        Raises:
            BackendError: an engine that the library refuses, or too little memory.
        """
        self._engine = engine
        self._inputs = manifest.inputs
        self._output = manifest.outputs[0]
        self._title = library.title
        self._stream = stream
        self._lock = threading.Lock()
        self._open = True
        self._log = Log(trt, library.attention, _log.warning)
        runtime = trt.Runtime(self._log.sink)
        # Plugins travel in the engine as a library.
        runtime.engine_host_code_allowed = bool(library.domains)
        self._cuda_engine = runtime.deserialize_cuda_engine(_read(path))
        if self._cuda_engine is None:
            raise BackendError(
                f"{library.title} {trt.__version__} cannot load the engine {path}: "
                f"{self._log.failure()}. Export again, or delete the file if it lies in mbert's "
                "cache."
            )
        self._dtypes = _dtypes(trt, self._cuda_engine)
        self._check_signature(path)
        self._allocate()
        # Closed in the reverse order: graphs and contexts go before the memory that they use.
        owned = ExitStack()
        owned.callback(stream.close)
        self._new_context = contexts(self._cuda_engine, owned)
        self._prepared: Recent[tuple[Any, ...], _Prepared] = Recent(_GRAPHS, _dropper(stream))
        owned.callback(self._prepared.clear)
        self._finalizer = weakref.finalize(self, owned.close)
        _log.debug("loaded %s on %s", path, stream.device)

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Compute the output for a packed batch, in float32.

        Raises:
            BackendError: closed, or the GPU failed.
        """
        with self._lock:
            if not self._open:
                raise BackendError("The model has been closed. Load it again.")
            self._stream.make_current()
            output = compute(
                inputs,
                self._engine,
                self._inputs,
                self._output,
                lambda call: as_float32(self._run(call)[: call.count]),
            )
        return [output]

    def close(self) -> None:
        """Free the engine and its memory; a call that is running ends first."""
        with self._lock:
            self._open = False
            self._finalizer()

    def _run(self, call: Call) -> NDArray[Any]:
        """Run one call; the result is a view of the staging buffer."""
        key = (call.profile, *sorted(call.sizes.items()))
        prepared = self._prepared.get(key, lambda: self._prepare(call))
        for name, slot in prepared.inputs.items():
            slot.of(self._host_inputs)[...] = call.feeds[name]
        if prepared.graph is not None:
            self._stream.launch(prepared.graph)
            self._stream.synchronize()
        else:
            self._issue(prepared)
            self._stream.synchronize()
            if prepared.capturable:
                # Only after a first run, which sets up what a capture must not.
                prepared.graph = self._stream.capture(lambda: self._issue(prepared))
                prepared.capturable = prepared.graph is not None
                if not prepared.capturable:
                    _log.debug("no CUDA graph for %s: %s", key, self._log.failure())
        return prepared.outputs[self._output.name].of(self._host_outputs)

    def _prepare(self, call: Call) -> _Prepared:
        context = self._new_context()
        if context is None:
            raise self._failed("make an execution context")
        prepared = _Prepared(
            context,
            lay_out(self._inputs, self._dtypes, call.sizes),
            lay_out([self._output], self._dtypes, call.sizes),
        )
        done = context.set_optimization_profile_async(call.profile, self._stream.handle)
        context.set_device_memory(self._activations, self._cuda_engine.device_memory_size_v2)
        for name, slot in prepared.inputs.items():
            done = done and context.set_input_shape(name, slot.shape)
            done = done and context.set_tensor_address(name, self._device_inputs + slot.offset)
        for name, slot in prepared.outputs.items():
            done = done and context.set_tensor_address(name, self._device_outputs + slot.offset)
        if not done:
            raise self._failed(f"take the sizes {call.sizes}")
        return prepared

    def _issue(self, prepared: _Prepared) -> None:
        """Put a whole call into the stream: one copy in, the layers, one copy out."""
        used = span(prepared.inputs)
        self._stream.upload(self._device_inputs, self._host_inputs[:used])
        if not prepared.context.execute_async_v3(self._stream.handle):
            raise self._failed("run")
        used = span(prepared.outputs)
        self._stream.download(self._host_outputs[:used], self._device_outputs)

    def _allocate(self) -> None:
        profiles = self._engine.profiles
        inputs = capacity(self._inputs, self._dtypes, profiles)
        outputs = capacity([self._output], self._dtypes, profiles)
        self._activations = self._stream.allocate(self._cuda_engine.device_memory_size_v2)
        self._device_inputs = self._stream.allocate(inputs)
        self._device_outputs = self._stream.allocate(outputs)
        self._host_inputs = self._stream.allocate_host(inputs)
        self._host_outputs = self._stream.allocate_host(outputs)

    def _check_signature(self, path: Path) -> None:
        """The engine is the one that the manifest describes."""
        expected = {spec.name for spec in (*self._inputs, self._output)}
        profiles = self._cuda_engine.num_optimization_profiles
        if set(self._dtypes) != expected or profiles != len(self._engine.profiles):
            raise BackendError(
                f"The engine {path} has inputs and outputs {sorted(self._dtypes)} and {profiles} "
                f"profiles; the bundle says {sorted(expected)} and {len(self._engine.profiles)}. "
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


def _dtypes(trt: Any, engine: Any) -> dict[str, np.dtype[Any]]:
    """Host types of the engine's inputs and outputs, by name; see :class:`Slot`."""
    known = {
        trt.DataType.INT32: np.int32,
        trt.DataType.BOOL: np.bool_,
        trt.DataType.FLOAT: np.float32,
        trt.DataType.HALF: np.float16,
        trt.DataType.BF16: np.uint16,
    }
    dtypes = {}
    for name in map(engine.get_tensor_name, range(engine.num_io_tensors)):
        dtype = engine.get_tensor_dtype(name)
        if dtype not in known:
            raise BackendError(
                f"The engine's tensor {name!r} is {dtype}; mbert has no such tensors."
            )
        dtypes[name] = np.dtype(known[dtype])
    return dtypes
