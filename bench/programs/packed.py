"""mbert itself: a bundle, run as a service runs it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

import mbert
from mbert.runtime.packing import Int32Array

from . import Source


class Packed:
    """``Model.run``: it packs on its own, so the groups of the peers mean nothing to it."""

    def __init__(self, source: Source) -> None:
        """Load the bundle."""
        self._model = mbert.load(source.path, threads=source.threads)
        self._sequences: Sequence[Int32Array] = ()

    @property
    def versions(self) -> dict[str, str]:
        """Of mbert and of what computes under it."""
        return {
            "mbert": mbert.__version__,
            "onnxruntime": onnxruntime.__version__,
            "numpy": np.__version__,
        }

    def prepare(self, sequences: Sequence[Int32Array], groups: Sequence[Sequence[int]]) -> None:
        """Keep the sequences."""
        self._sequences = sequences

    def run(self) -> list[Any]:
        """Pack, compute and put in order."""
        return self._model.run(self._sequences)

    def outputs(self, result: list[Any]) -> list[NDArray[Any]]:
        """One array a sequence: several outputs side by side."""
        return [
            np.stack(list(values.values()), -1) if isinstance(values, dict) else values
            for values in result
        ]


def open_program(source: Source) -> Packed:
    """Load a bundle.

    Raises:
        MbertError: see :func:`mbert.load`.
    """
    return Packed(source)
