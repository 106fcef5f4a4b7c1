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
from ..manifest import Engine, Manifest, TensorSpec
from .buffers import Slot, as_float32, capacity, host_dtype, lay_out, span
from .cuda import Stream
from .recent import Recent
from .tensorrt_api import Contexts, Library, Log

_log = logging.getLogger("mbert")

# Sizes whose execution contexts are kept, and the graphs of those met again. The memory for
# activations is shared by all of them.
_SIZES = 64


@dataclass
class _Prepared:
    """Everything that calls of the same sizes share.

    A context of their own: what a captured graph reads from it must stay as it was.
    """

    context: Any
    inputs: dict[str, Slot]
    outputs: dict[str, Slot]
    met: bool = False
    capturable: bool = True
    graph: Any = None


class TensorRTSession:
    """A loaded engine. :meth:`run` may be called from several threads; calls run one by one.

    Memory for the inputs, activations and outputs of the largest call of any profile is taken at
    loading. Calls of the same sizes share an execution context and, from the second one on, a CUDA
    graph: what these take comes on top, for up to 64 sizes at a time.
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
            manifest: inputs and outputs of the bundle.
            engine: what the bundle says about the engine.
            path: the engine's file, not needed any more afterwards.
            stream: on the device that it is to run on; closed with the session, once there is one.
            contexts: gives what makes execution contexts that are handed their memory.

        Raises:
            BackendError: an engine that the library refuses, or too little memory.
        """
        self._engine = engine
        self._inputs = manifest.inputs
        self._outputs = manifest.outputs
        self._title = library.title
        self._stream = stream
        self._lock = threading.Lock()
        self._open = True
        self._log = Log(trt, library.attention, _log.warning)
        self._cuda_engine = library.deserialize(trt, self._log, _read(path))
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
        self._new_context = contexts(self._cuda_engine, owned)
        self._prepared: Recent[tuple[Any, ...], _Prepared] = Recent(_SIZES, _dropper(stream))
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
        """Run one call; give the rows that count, which may be views of the staging buffer."""
        key = (call.profile, *sorted(call.sizes.items()))
        prepared = self._prepared.get(key, lambda: self._prepare(call))
        for name, slot in prepared.inputs.items():
            slot.of(self._host_inputs)[...] = call.feeds[name]
        # Most sizes are met once; and a first run sets up what a capture must not.
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
        done = context.set_optimization_profile_async(call.profile, self._stream.handle)
        context.set_device_memory(self._activations, self._cuda_engine.device_memory_size_v2)
        for name, slot in prepared.inputs.items():
            done = done and context.set_input_shape(name, slot.shape)
            done = done and context.set_tensor_address(name, self._device_inputs + slot.offset)
        for name, slot in prepared.outputs.items():
            done = done and context.set_tensor_address(name, self._device_outputs + slot.offset)
        if not done:
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
        outputs = capacity(self._outputs, self._dtypes, profiles)
        self._activations = self._stream.allocate(self._cuda_engine.device_memory_size_v2)
        self._device_inputs = self._stream.allocate(inputs)
        self._device_outputs = self._stream.allocate(outputs)
        self._host_inputs = self._stream.allocate_host(inputs)
        self._host_outputs = self._stream.allocate_host(outputs)

    def _check_signature(self, trt: Any, path: Path) -> None:
        """The engine is the one that the manifest describes."""
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
    """Types of the engine's inputs and outputs, as manifests name them; others by their own."""
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
