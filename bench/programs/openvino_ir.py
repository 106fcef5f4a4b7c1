"""OpenVINO on the padded export of transformers' model: float32, bfloat16 or int8 weights."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mbert.errors import BackendError

from . import Source
from .padded import Padded

try:
    import openvino
except ImportError as error:
    raise BackendError(
        f"The OpenVINO side needs the Python module openvino; {error.name} is missing. Install it "
        "with `pip install 'mbert[bench]'`."
    ) from error

# Its names of the precisions that are asked for; the quantised model is left alone.
_HINTS = {"fp32": "f32", "bf16": "bf16"}


class OpenVino(Padded):
    """A compiled model with one stream: the lowest latency of a call."""

    def __init__(self, source: Source) -> None:
        """Load the model.

        The precision is asked for by name: left alone, OpenVINO computes in bfloat16 where the
        processor has it.
        """
        super().__init__(source.rows)
        self._precision = source.precision
        settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": source.threads}
        if source.precision in _HINTS:
            settings["INFERENCE_PRECISION_HINT"] = _HINTS[source.precision]
        core = openvino.Core()
        self._model = core.compile_model(source.path, "CPU", settings)
        self._request = self._model.create_infer_request()

    @property
    def versions(self) -> dict[str, str]:
        """Of OpenVINO, with the precision and the threads that it chose."""
        used = {
            "precision": self._model.get_property("INFERENCE_PRECISION_HINT").get_type_name(),
            "threads": str(self._model.get_property("INFERENCE_NUM_THREADS")),
        }
        if self._precision not in _HINTS:
            groups = self._model.get_property("DYNAMIC_QUANTIZATION_GROUP_SIZE")
            used["activations quantised in groups of"] = str(groups)
        return {"openvino": openvino.__version__.partition("-")[0], **used}

    def compute(self, input_ids: NDArray[Any], attention_mask: NDArray[Any]) -> NDArray[Any]:
        """Run the request."""
        self._request.infer({"input_ids": input_ids, "attention_mask": attention_mask})
        # A copy: the request's own array is overwritten by the next batch.
        return np.array(self._request.get_output_tensor(0).data)


def open_program(source: Source) -> OpenVino:
    """Load a model of :mod:`mbert.bench.peer_models`.

    Raises:
        BackendError: OpenVINO is missing.
    """
    return OpenVino(source)
