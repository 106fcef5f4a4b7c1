"""ONNX Runtime on the padded export of transformers' model, float32 or quantised."""

from __future__ import annotations

from typing import Any

import onnxruntime
from numpy.typing import NDArray

from . import Source
from .padded import Padded


class PaddedOnnx(Padded):
    """A session with every graph optimisation."""

    def __init__(self, source: Source) -> None:
        """Load the model."""
        super().__init__(source.rows)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = source.threads
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        self._session = onnxruntime.InferenceSession(
            source.path, options, providers=["CPUExecutionProvider"]
        )

    @property
    def versions(self) -> dict[str, str]:
        """Of ONNX Runtime."""
        return {"onnxruntime": onnxruntime.__version__}

    def compute(self, input_ids: NDArray[Any], attention_mask: NDArray[Any]) -> NDArray[Any]:
        """Run the session."""
        feeds = {"input_ids": input_ids, "attention_mask": attention_mask}
        values: NDArray[Any] = self._session.run(None, feeds)[0]
        return values


def open_program(source: Source) -> PaddedOnnx:
    """Load a model of :mod:`mbert.bench.peer_models`."""
    return PaddedOnnx(source)
