"""The CUDA runtime, through NVIDIA's own bindings: devices, memory, one stream, captured graphs."""

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
    """A GPU, as CUDA numbers them (``CUDA_VISIBLE_DEVICES`` hides some)."""

    index: int
    name: str
    compute_capability: str


def parse_device(device: str | None) -> int:
    """Index of the device that a caller named: None or "cuda" the first, "cuda:1" the second.

    Raises:
        BackendError: not the name of a GPU.
    """
    match = re.fullmatch(r"cuda(?::(\d{1,4}))?", "cuda" if device is None else device)
    if match is None:
        raise BackendError(f"The device is {device!r}; expected None, 'cuda' or 'cuda:N'.")
    return int(match[1] or 0)


def devices() -> list[Device]:
    """All GPUs of this machine, at least one.

    Raises:
        BackendError: no driver, no GPU, or no bindings to ask with.
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
    """All GPUs of this machine; empty where there is none that can be used."""
    try:
        return tuple(devices())
    except BackendError:
        return ()


def find(index: int) -> Device:
    """The device of an index.

    Raises:
        BackendError: see :func:`devices`; or there is no such device.
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
    """A stream on one device, the memory that goes with it, and graphs captured from it.

    Not thread-safe; :meth:`close` frees everything, in the reverse order of its making.
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
        """Make the device this thread's own: CUDA keeps one for each thread."""
        self._call("cudaSetDevice", self.device.index)

    def allocate(self, size: int) -> int:
        """Address of ``size`` bytes on the device.

        Raises:
            BackendError: the device has not that much.
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
        """``size`` bytes of the host's memory that the device copies from and to directly."""
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
        """Wait for everything so far; errors of what ran appear here."""
        self._call("cudaStreamSynchronize", self.handle)

    def capture(self, issue: Callable[[], None]) -> Any | None:
        """Record what ``issue`` puts into the stream as a graph; None where that cannot be."""
        # Thread-local: what other threads do on other streams does not end the capture.
        mode = self._runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        graph = None
        try:
            self._call("cudaStreamBeginCapture", self.handle, mode)
            try:
                issue()
            finally:
                # Whatever happened: nothing else takes the stream out of its capture.
                ended = self._runtime.cudaStreamEndCapture(self.handle)
                graph = ended[1]
            _checked(self._runtime, ended, "cudaStreamEndCapture")
            return self._call("cudaGraphInstantiate", graph, 0)
        except BackendError as error:
            _log.debug("no CUDA graph: %s", error)
            self._runtime.cudaGetLastError()  # forget it: the stream itself is as it was
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
    except Exception as error:  # whatever its shared libraries raise
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
    """The values of a call, which come after its status: None, one, or a tuple of several."""
    error, *values = returned
    if error != runtime.cudaError_t.cudaSuccess:
        raise BackendError(f"CUDA failed: {what}: {_named(runtime, error)}.")
    return values[0] if len(values) == 1 else tuple(values) or None


def _named(runtime: Any, error: Any) -> str:
    _, text = runtime.cudaGetErrorString(error)
    return f"{text.decode()} ({error.name})"


def _driver_hint(runtime: Any) -> str:
    """What the driver can do, against what these bindings want."""
    _, driver = runtime.cudaDriverGetVersion()
    _, wanted = runtime.cudaRuntimeGetVersion()
    if not driver or driver // 1000 >= wanted // 1000:
        return ""
    return (
        f" The driver is for CUDA {_version(driver)}, the installed cuda-bindings are for "
        f"{_version(wanted)}: update the driver, or install packages for CUDA "
        f"{driver // 1000} (docs/platforms.md)."
    )


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"
