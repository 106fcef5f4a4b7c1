"""ONNX Runtime, with mbert's kernels or with standard operators."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from mbert.errors import BackendError
from mbert.plugins import onnxruntime_cuda_library, onnxruntime_library

from ..cores import usable_cores
from .dtypes import as_float32

if TYPE_CHECKING:
    from .cuda import Device

_log = logging.getLogger("mbert")

_CUDA = "CUDAExecutionProvider"
_INSTALL_CUDA = (
    "Replace it: `pip uninstall onnxruntime onnxruntime-gpu`, then `pip install onnxruntime-gpu`, "
    "of the driver's CUDA version (docs/platforms.md)."
)


class OnnxRuntimeSession:
    """A loaded model; :meth:`run` may be called from several threads at once."""

    def __init__(
        self,
        model: Path,
        threads: int | None = None,
        kernels: bool = True,
        gpu: Device | None = None,
    ) -> None:
        """Load ``model``.

        Args:
            model: the ``model.onnx`` of a bundle.
            threads: threads of one call, the calling one included; None: one for each core that
                this process may use.
            kernels: compute mbert's operators with the library of kernels; False: with the standard
                operators that the model carries for each.
            gpu: the GPU to run on; None: the CPU.

        Raises:
            BackendError: the operator library is missing, or ONNX Runtime cannot use the GPU or
                refuses the model.
        """
        if gpu is not None and _CUDA not in ort.get_available_providers():
            raise BackendError(
                f"The installed ONNX Runtime {ort.__version__} has no CUDA. {_INSTALL_CUDA}"
            )
        options = ort.SessionOptions()
        options.log_severity_level = 4  # errors come back as exceptions
        options.intra_op_num_threads = threads if threads is not None else usable_cores()
        # On a CPU, ONNX Runtime would keep a memory plan for every batch size beside the arena that
        # serves them all. Off, 8,192 tokens of base take a quarter less memory and no more time.
        options.enable_mem_pattern = gpu is not None
        if kernels:
            library = onnxruntime_library() if gpu is None else onnxruntime_cuda_library()
            try:
                options.register_custom_ops_library(os.fspath(library))
            except Exception as error:
                raise BackendError(
                    f"ONNX Runtime {ort.__version__} refuses the operator library {library}: "
                    f"{error}. It needs ONNX Runtime 1.21 or newer; kernels=False runs without it, "
                    "more slowly."
                ) from error
        providers: list[Any] = ["CPUExecutionProvider"]
        if gpu is not None:
            # The CPU stays in the list: ONNX Runtime runs small integer work on shapes there.
            # By default it would cut the inputs of float32 products to TF32's 10 bits.
            providers.insert(0, (_CUDA, {"device_id": gpu.index, "use_tf32": 0}))
        try:
            self._session = ort.InferenceSession(os.fspath(model), options, providers=providers)
        except Exception as error:  # the binding has one class for each status
            raise BackendError(f"ONNX Runtime cannot load {model}: {error}") from error
        # ONNX Runtime falls back to the CPU if CUDA does not start.
        if gpu is not None and _CUDA not in self._session.get_providers():
            raise BackendError(
                f"ONNX Runtime {ort.__version__} cannot start CUDA on cuda:{gpu.index} "
                f"({gpu.name}): its CUDA or cuDNN libraries are missing, or the driver is too old. "
                f"{_INSTALL_CUDA}"
            )
        how = "kernels" if kernels else "standard operators"
        _log.debug("loaded %s with ONNX Runtime %s, %s", model, ort.__version__, how)

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Compute all outputs, in the order of the graph.

        Raises:
            BackendError: ONNX Runtime or a kernel refused the inputs.
        """
        try:
            outputs = self._session.run(None, dict(inputs))
        except Exception as error:
            raise BackendError(f"ONNX Runtime failed: {error}") from error
        return [as_float32(np.asarray(output)) for output in outputs]

    def close(self) -> None:
        """Do nothing: the model is freed with the last reference to the session."""
