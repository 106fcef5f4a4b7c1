"""ONNX Runtime on the CPU, with the operator library or with the operators' function bodies."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from mbert.errors import BackendError
from mbert.plugins import onnxruntime_library

from ..cores import usable_cores

Operators = Literal["plugin", "functions"]

_log = logging.getLogger("mbert")


class OnnxRuntimeSession:
    """A loaded model; :meth:`run` may be called from several threads at once."""

    def __init__(
        self, model: Path, threads: int | None = None, operators: Operators = "plugin"
    ) -> None:
        """Load ``model``.

        Args:
            model: the ``model.onnx`` of a bundle.
            threads: threads of one call, the calling one included; None: one for each core that
                this process may use.
            operators: "plugin" computes mbert's operators with the library of kernels,
                "functions" with the standard operators that the model carries for each.

        Raises:
            BackendError: no operator library, or a model that ONNX Runtime refuses.
        """
        options = ort.SessionOptions()
        options.log_severity_level = 4  # errors come back as exceptions
        options.intra_op_num_threads = threads if threads is not None else usable_cores()
        if operators == "plugin":
            library = onnxruntime_library()
            try:
                options.register_custom_ops_library(os.fspath(library))
            except Exception as error:
                raise BackendError(
                    f"ONNX Runtime {ort.__version__} refuses the operator library {library}: "
                    f"{error}. It needs ONNX Runtime 1.21 or newer; operators='functions' runs "
                    "without it, more slowly."
                ) from error
        try:
            self._session = ort.InferenceSession(
                os.fspath(model), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # the binding raises a class of its own for each status
            raise BackendError(f"ONNX Runtime cannot load {model}: {error}") from error
        _log.debug("loaded %s with ONNX Runtime %s, %s", model, ort.__version__, operators)

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Compute all outputs, in the order of the graph.

        Raises:
            BackendError: ONNX Runtime or a kernel refused the inputs.
        """
        try:
            outputs = self._session.run(None, dict(inputs))
        except Exception as error:
            raise BackendError(f"ONNX Runtime failed: {error}") from error
        return [np.asarray(output) for output in outputs]
