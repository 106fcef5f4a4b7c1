"""The best rate of a float32 matrix product here: the limit that speeds are compared with."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mbert.errors import BackendError

from .worker_process import WorkerProcess

LIBRARIES = ("numpy", "torch", "onnxruntime")
# From a batch of short texts to one that no cache holds.
ROWS = (512, 1024, 2048, 4096)
_CALLS = 3
# Each library and size is measured for this part of the time that a workload gets.
_PART = 1 / 40


@dataclass
class Ceiling:
    """Rates of a product (rows, columns_in) x (columns_in, columns_out), rows of :data:`ROWS`.

    ``rates``: floating-point operations per second (a multiply-add is two), by library: the best of
    the sizes, once for each time that it was measured.
    """

    columns_in: int
    columns_out: int
    rates: dict[str, list[float]] = field(default_factory=dict)

    @property
    def best(self) -> float:
        """The best of all."""
        return max(rate for rates in self.rates.values() for rate in rates)


def measure(ceiling: Ceiling, threads: int, seconds: float, scratch: Path) -> None:
    """Add a rate of each library that is installed.

    Args:
        ceiling: says which product, and takes the rates.
        threads: of every library.
        seconds: time that a workload gets; this takes a part of it.
        scratch: the working directory of the libraries' processes.
    """
    # OpenBLAS, and OpenMP under it, take the number of threads from here alone.
    limits = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), str(threads))
    for library in LIBRARIES:
        with WorkerProcess(f"{library} sgemm", scratch, limits) as worker:
            try:
                reply = worker.ask(
                    "sgemm",
                    library=library,
                    columns_in=ceiling.columns_in,
                    columns_out=ceiling.columns_out,
                    threads=threads,
                    seconds=seconds * _PART,
                )
            except BackendError:
                continue
            ceiling.rates.setdefault(library, []).append(reply["rate"])


def rate(library: str, columns_in: int, columns_out: int, threads: int, seconds: float) -> float:
    """Return the best rate of :data:`ROWS` in this process, in operations per second.

    Args:
        library: one of :data:`LIBRARIES`.
        columns_in: of the left matrix.
        columns_out: of the right one.
        threads: of one product.
        seconds: time for each size; three products at least.

    Raises:
        BackendError: the library is missing.
    """
    generator = np.random.default_rng(0)
    right = generator.standard_normal((columns_in, columns_out), np.float32)
    best = 0.0
    for rows in ROWS:
        left = generator.standard_normal((rows, columns_in), np.float32)
        try:
            product = _PRODUCTS[library](left, right, threads)
        except ImportError as error:
            raise BackendError(f"{error.name} is missing.") from error
        flop = 2 * rows * columns_in * columns_out
        best = max(best, flop / _least_seconds(product, seconds))
    return best


def _least_seconds(product: Callable[[], object], at_least: float) -> float:
    product()  # finds cold caches and sleeping threads
    times: list[float] = []
    while len(times) < _CALLS or sum(times) < at_least:
        start = time.perf_counter()
        product()
        times.append(time.perf_counter() - start)
    return min(times)


_Matrix = np.ndarray[tuple[int, int], np.dtype[np.float32]]


def _numpy(left: _Matrix, right: _Matrix, threads: int) -> Callable[[], object]:
    out = np.empty((left.shape[0], right.shape[1]), np.float32)
    return lambda: np.matmul(left, right, out=out)


def _torch(left: _Matrix, right: _Matrix, threads: int) -> Callable[[], object]:
    import torch

    torch.set_num_threads(threads)
    a, b = torch.from_numpy(left), torch.from_numpy(right)
    out = torch.empty(left.shape[0], right.shape[1])
    return lambda: torch.mm(a, b, out=out)


def _onnxruntime(left: _Matrix, right: _Matrix, threads: int) -> Callable[[], object]:
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    # The right matrix is a constant, as weights are: it is packed once.
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["left", "right"], ["out"])],
        "sgemm",
        [helper.make_tensor_value_info("left", TensorProto.FLOAT, left.shape)],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, (len(left), right.shape[1]))],
        [numpy_helper.from_array(right, "right")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return lambda: session.run(None, {"left": left})


_PRODUCTS = {"numpy": _numpy, "torch": _torch, "onnxruntime": _onnxruntime}
