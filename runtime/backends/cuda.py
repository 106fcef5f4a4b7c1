"""The CUDA runtime: devices, memory, streams and captured graphs."""

from __future__ import annotations

import ctypes
import importlib
import logging
import re
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mbert.errors import BackendError

_DRIVER = "libcuda.so.1"

_log = logging.getLogger("mbert")


@dataclass(frozen=True)
class Device:
    """A GPU, in CUDA's numbering (``CUDA_VISIBLE_DEVICES`` hides some)."""

    index: int
    name: str
    compute_capability: str


def parse_device(device: str | None) -> int:
    """Return the index of a named device: 0 for None and "cuda", 1 for "cuda:1".

    Raises:
        BackendError: ``device`` names no GPU.
    """
    match = re.fullmatch(r"cuda(?::(\d{1,4}))?", "cuda" if device is None else device)
    if match is None:
        raise BackendError(f"The device is {device!r}; expected None, 'cuda' or 'cuda:N'.")
    return int(match[1] or 0)


def devices() -> list[Device]:
    """Return all GPUs of this machine, at least one.

    Raises:
        BackendError: driver, GPU or bindings are missing.
    """
    try:
        ctypes.CDLL(_DRIVER)
    except OSError as error:
        raise BackendError(
            f"This machine has no NVIDIA driver ({_DRIVER} was not found), so no GPU."
        ) from error
    runtime = _runtime()
    status, count = runtime.cudaGetDeviceCount()
    if status != runtime.cudaError_t.cudaSuccess or not count:
        raise BackendError(f"CUDA finds no GPU: {_named(runtime, status)}.{_driver_hint(runtime)}")
    return [_device(runtime, index) for index in range(count)]


def local_devices() -> tuple[Device, ...]:
    """Return all usable GPUs of this machine; it may have none."""
    try:
        return tuple(devices())
    except BackendError:
        return ()


def find(index: int) -> Device:
    """Return the device of an index.

    Raises:
        BackendError: as :func:`devices`, or no device has this index.
    """
    found = devices()
    if index >= len(found):
        listed = ", ".join(f"cuda:{d.index} ({d.name})" for d in found)
        raise BackendError(f"There is no device cuda:{index}; this machine has {listed}.")
    return found[index]


def select(index: int) -> Device:
    """Make a device the current one of this thread.

    Raises:
        BackendError: as :func:`find`.
    """
    device = find(index)
    runtime = _runtime()
    _checked(runtime, runtime.cudaSetDevice(index), f"select cuda:{index}")
    return device


class Stream:
    """A stream on one device, with its memory and its captured graphs.

    Not thread-safe. :meth:`close` frees everything, last in, first out.
    """

    def __init__(self, device: int) -> None:
        """Make the stream.

        Raises:
            BackendError: as :func:`select`.
        """
        self.device = select(device)
        self._runtime = _runtime()
        self._owned = ExitStack()
        non_blocking = 1  # cudaStreamNonBlocking: no waiting for other users of the default stream
        stream = self._call("cudaStreamCreateWithFlags", non_blocking)
        self.handle = int(stream)
        self._owned.callback(self._runtime.cudaStreamDestroy, stream)

    def close(self) -> None:
        """Free graphs, memory and the stream. May be called again."""
        self._runtime.cudaSetDevice(self.device.index)
        self._owned.close()

    def make_current(self) -> None:
        """Make the device the current one of this thread."""
        self._call("cudaSetDevice", self.device.index)

    def allocate(self, size: int) -> int:
        """Allocate ``size`` bytes on the device and return their address.

        Raises:
            BackendError: the device has too little free memory.
        """
        try:
            address = int(self._call("cudaMalloc", max(size, 1)))
        except BackendError as error:
            free, total = self._call("cudaMemGetInfo")
            raise BackendError(
                f"cuda:{self.device.index} ({self.device.name}) has {free / 2**20:.0f} MiB free of "
                f"{total / 2**20:.0f}; the model asks for {size / 2**20:.0f} more ({error}). Stop "
                "what else uses it, or export with a smaller --max-tokens."
            ) from error
        self._owned.callback(self._runtime.cudaFree, address)
        return address

    def allocate_host(self, size: int) -> NDArray[np.uint8]:
        """Allocate ``size`` bytes of page-locked host memory."""
        address = int(self._call("cudaHostAlloc", max(size, 1), 0))
        self._owned.callback(self._runtime.cudaFreeHost, address)
        return np.ctypeslib.as_array((ctypes.c_uint8 * max(size, 1)).from_address(address))

    def upload(self, device: int, host: NDArray[np.uint8]) -> None:
        """Copy to the device, in the order of the stream."""
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._call("cudaMemcpyAsync", device, host.ctypes.data, host.nbytes, kind, self.handle)

    def download(self, host: NDArray[np.uint8], device: int) -> None:
        """Copy from the device, in the order of the stream."""
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._call("cudaMemcpyAsync", host.ctypes.data, device, host.nbytes, kind, self.handle)

    def synchronize(self) -> None:
        """Wait for all enqueued work; its errors appear here."""
        self._call("cudaStreamSynchronize", self.handle)

    def capture(self, issue: Callable[[], None]) -> Any | None:
        """Capture the work that ``issue`` enqueues; None if that is impossible."""
        # Thread-local: calls of other threads do not end the capture.
        mode = self._runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        graph = None
        try:
            self._call("cudaStreamBeginCapture", self.handle, mode)
            try:
                issue()
            finally:
                # On errors too: nothing else takes the stream out of its capture.
                ended = self._runtime.cudaStreamEndCapture(self.handle)
                graph = ended[1]
            _checked(self._runtime, ended, "cudaStreamEndCapture")
            return self._call("cudaGraphInstantiate", graph, 0)
        except BackendError as error:
            _log.debug("no CUDA graph: %s", error)
            self._runtime.cudaGetLastError()  # clears the error; the stream is usable
            return None
        finally:
            if graph is not None and int(graph):
                self._runtime.cudaGraphDestroy(graph)

    def launch(self, graph: Any) -> None:
        """Run a captured graph, in the order of the stream."""
        self._call("cudaGraphLaunch", graph, self.handle)

    def destroy(self, graph: Any) -> None:
        """Free a captured graph."""
        self._runtime.cudaGraphExecDestroy(graph)

    def _call(self, name: str, *arguments: Any) -> Any:
        return _checked(self._runtime, getattr(self._runtime, name)(*arguments), name)


def _runtime() -> Any:
    try:
        return importlib.import_module("cuda.bindings.runtime")
    except Exception as error:  # its shared libraries raise various types
        raise BackendError(
            f"NVIDIA's CUDA bindings cannot be loaded ({error}). Install them with `pip install "
            "cuda-bindings`, of the CUDA version that the driver has (docs/platforms.md)."
        ) from error


def _device(runtime: Any, index: int) -> Device:
    attributes = runtime.cudaDeviceAttr
    major, minor = (
        _checked(runtime, runtime.cudaDeviceGetAttribute(attribute, index), "ask the device")
        for attribute in (
            attributes.cudaDevAttrComputeCapabilityMajor,
            attributes.cudaDevAttrComputeCapabilityMinor,
        )
    )
    properties = _checked(runtime, runtime.cudaGetDeviceProperties(index), "ask the device")
    return Device(index, properties.name.decode(), f"{major}.{minor}")


def _checked(runtime: Any, returned: tuple[Any, ...], what: str) -> Any:
    """Check a call's status and return its values: None, one, or a tuple of several."""
    error, *values = returned
    if error != runtime.cudaError_t.cudaSuccess:
        raise BackendError(f"CUDA failed: {what}: {_named(runtime, error)}.")
    return values[0] if len(values) == 1 else tuple(values) or None


def _named(runtime: Any, error: Any) -> str:
    _, text = runtime.cudaGetErrorString(error)
    return f"{text.decode()} ({error.name})"


def _driver_hint(runtime: Any) -> str:
    """Say whether the driver is older than the bindings need."""
    _, driver = runtime.cudaDriverGetVersion()
    _, required = runtime.cudaRuntimeGetVersion()
    if not driver or driver // 1000 >= required // 1000:
        return ""
    return (
        f" The driver is for CUDA {_version(driver)}, the installed cuda-bindings are for "
        f"{_version(required)}: update the driver, or install packages for CUDA "
        f"{driver // 1000} (docs/platforms.md)."
    )


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"
