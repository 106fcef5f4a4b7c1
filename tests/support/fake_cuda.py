"""A double of ``cuda.bindings.runtime``: a device in host memory.

Work on a stream runs when the stream is waited for, so that a missing wait shows. Copies are
checked against the allocations. A stream under capture records its work and does not run it.
tests/runtime/backends/tensorrt/test_doubles.py compares names and parameters with the real module.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
from cuda.bindings import runtime as real
from numpy.typing import NDArray

Error = real.cudaError_t
OK = Error.cudaSuccess

_DEVICE_MEMORY = 1 << 40  # first address, far from the host's


class FakeCuda:
    """The GPUs of a process; calls return their status first, as CUDA's bindings do."""

    cudaError_t = real.cudaError_t
    cudaMemcpyKind = real.cudaMemcpyKind
    cudaDeviceAttr = real.cudaDeviceAttr
    cudaStreamCaptureMode = real.cudaStreamCaptureMode
    cudaGetErrorString = staticmethod(real.cudaGetErrorString)

    def __init__(
        self,
        *capabilities: str,
        names: Sequence[str] = (),
        memory: int = 1 << 30,
        driver: int = 13000,
    ) -> None:
        self.capabilities = capabilities or ("8.9",)
        self.names = names or [f"GPU {capability}" for capability in self.capabilities]
        self.free = self.memory = memory
        self.driver = driver
        self.current = -1
        self.launches = self.captures = 0
        self.errors: dict[str, Any] = {}  # the status of each capturing function
        self.failure = OK  # the status of the next wait for the stream
        self._device: dict[int, NDArray[np.uint8]] = {}
        self._host: dict[int, Any] = {}
        self._next = _DEVICE_MEMORY
        self._streams: dict[int, list[Callable[[], None]]] = {}
        self._recording: list[Callable[[], None]] | None = None
        self._graphs: dict[int, list[Callable[[], None]]] = {}

    @property
    def held(self) -> int:
        """Return the resources to free: allocations, streams, graphs."""
        return len(self._device) + len(self._host) + len(self._streams) + len(self._graphs)

    def enqueue(self, stream: int, work: Callable[[], None]) -> None:
        """Put work into a stream, as a kernel launch does."""
        assert self.current >= 0, "no device was selected"
        target = self._streams[stream] if self._recording is None else self._recording
        target.append(work)

    def at(self, address: int, size: int) -> NDArray[np.uint8]:
        """Return ``size`` bytes of device memory, which must lie in one allocation."""
        for start, block in self._device.items():
            if start <= address and address + size <= start + block.size:
                return block[address - start : address - start + size]
        raise AssertionError(f"{size} bytes at {address:#x} are outside of any allocation")

    # ---- the interface

    def cudaGetDeviceCount(self) -> tuple[Any, int | None]:
        if not self.driver:
            return Error.cudaErrorInsufficientDriver, None
        return OK, len(self.capabilities)

    def cudaDriverGetVersion(self) -> tuple[Any, int]:
        return OK, self.driver

    def cudaRuntimeGetVersion(self) -> tuple[Any, int]:
        return OK, 13050

    def cudaSetDevice(self, device: int) -> tuple[Any]:
        self.current = device
        return (OK,)

    def cudaDeviceGetAttribute(self, attr: Any, device: int) -> tuple[Any, int]:
        major, minor = map(int, self.capabilities[device].split("."))
        wanted = real.cudaDeviceAttr.cudaDevAttrComputeCapabilityMajor
        return OK, major if attr == wanted else minor

    def cudaGetDeviceProperties(self, device: int) -> tuple[Any, Any]:
        return OK, SimpleNamespace(name=self.names[device].encode())

    def cudaMemGetInfo(self) -> tuple[Any, int, int]:
        return OK, self.free, self.memory

    def cudaMalloc(self, size: int) -> tuple[Any, int | None]:
        if size > self.free:
            return Error.cudaErrorMemoryAllocation, None
        self.free -= size
        address, self._next = self._next, self._next + size + 4096 & ~255
        self._device[address] = np.full(size, 0xA5, np.uint8)  # new memory is not zeros
        return OK, address

    def cudaFree(self, devPtr: int) -> tuple[Any]:
        self.free += self._device.pop(devPtr).size
        return (OK,)

    def cudaHostAlloc(self, size: int, flags: int) -> tuple[Any, int]:
        block = (ctypes.c_uint8 * size)()
        self._host[ctypes.addressof(block)] = block
        return OK, ctypes.addressof(block)

    def cudaFreeHost(self, ptr: int) -> tuple[Any]:
        del self._host[ptr]
        return (OK,)

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[Any, int]:
        handle = 100 + len(self._streams)
        self._streams[handle] = []
        return OK, handle

    def cudaStreamDestroy(self, stream: int) -> tuple[Any]:
        del self._streams[stream]
        return (OK,)

    def cudaStreamSynchronize(self, stream: int) -> tuple[Any]:
        assert self._recording is None, "no waiting while capturing"
        work, self._streams[stream] = self._streams[stream], []
        for item in work:
            item()
        status, self.failure = self.failure, OK
        return (status,)

    def cudaMemcpyAsync(self, dst: int, src: int, count: int, kind: Any, stream: int) -> tuple[Any]:
        up = kind == real.cudaMemcpyKind.cudaMemcpyHostToDevice
        device, host = (dst, src) if up else (src, dst)
        block = self.at(device, count)
        within = any(
            start <= host and host + count <= start + len(block)
            for start, block in self._host.items()
        )
        assert within, "the host's side of a copy is not page-locked"
        view = np.ctypeslib.as_array((ctypes.c_uint8 * count).from_address(host))

        def copy() -> None:
            if up:
                block[:] = view
            else:
                view[:] = block

        self.enqueue(stream, copy)
        return (OK,)

    def cudaStreamBeginCapture(self, stream: int, mode: Any) -> tuple[Any]:
        self.captures += 1
        if "cudaStreamBeginCapture" in self.errors:
            return (self.errors["cudaStreamBeginCapture"],)
        self._recording = []
        return (OK,)

    def cudaStreamEndCapture(self, stream: int) -> tuple[Any, int | None]:
        recorded, self._recording = self._recording, None
        assert recorded is not None, "the stream is not capturing"
        if "cudaStreamEndCapture" in self.errors:
            return self.errors["cudaStreamEndCapture"], None
        return self._keep(recorded)

    def cudaGraphInstantiate(self, graph: int, flags: int) -> tuple[Any, int | None]:
        if "cudaGraphInstantiate" in self.errors:
            return self.errors["cudaGraphInstantiate"], None
        return self._keep(self._graphs[graph])

    def cudaGraphDestroy(self, graph: int) -> tuple[Any]:
        del self._graphs[graph]
        return (OK,)

    def cudaGraphExecDestroy(self, graphExec: int) -> tuple[Any]:
        del self._graphs[graphExec]
        return (OK,)

    def cudaGraphLaunch(self, graphExec: int, stream: int) -> tuple[Any]:
        self.launches += 1
        for work in self._graphs[graphExec]:
            self.enqueue(stream, work)
        return (OK,)

    def cudaGetLastError(self) -> tuple[Any]:
        return (OK,)

    def _keep(self, work: list[Callable[[], None]]) -> tuple[Any, int]:
        handle = max(self._graphs, default=0) + 1
        self._graphs[handle] = work
        return OK, handle
