"""The reference of a verification: a packed batch, computed by PyTorch in float64."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mbert.errors import CheckpointError, ExportError
from mbert.model.families.modernbert_config import ModelConfig
from mbert.runtime.tasks import TASKS

from ..inputs import make_batch
from ..precisions import Calibration, Precision
from ..precisions.calibration_data import Sample, hooked

# Absolute floor, as a part of an output's largest value, for outputs where PyTorch's own error is
# near zero: a few units in the last place.
FLOOR = 1e-6
SEED = 0

# Around every block and window boundary of the kernels, and one of several blocks.
_LENGTHS = (1, 2, 15, 16, 17, 63, 64, 65, 127, 128, 129, 130, 260)

Batch = Mapping[str, NDArray[np.int32]]
Arrays = Sequence[NDArray[Any]]  # the outputs, in the order of the graph


@dataclass(frozen=True)
class Reference:
    """A packed batch, and PyTorch's results in float64 and in a precision.

    Attributes:
        inputs: the batch.
        exact: outputs in float64, by name, in the order of the graph.
        precision: the precision that is judged.
        own_errors: largest absolute error of PyTorch in ``precision``, for each output.
        cosines: of the last hidden states in ``precision`` and in float64, [tokens].
    """

    inputs: dict[str, NDArray[np.int32]]
    exact: dict[str, NDArray[np.float64]]
    precision: Precision
    own_errors: dict[str, float]
    cosines: NDArray[np.float64]

    @property
    def lengths(self) -> list[int]:
        """Return the lengths of the sequences."""
        lengths: list[int] = np.diff(self.inputs["cu_seqlens"]).tolist()
        return lengths

    def tolerance(self, output: str) -> float:
        """Return the largest absolute error that the export may show in ``output``."""
        floor = FLOOR * self.largest_value(output)
        return max(self.precision.factor * self.own_errors[output], floor)

    def largest_value(self, output: str) -> float:
        """Return the largest magnitude of ``output``."""
        return float(np.abs(self.exact[output]).max())

    def errors(self, outputs: Arrays) -> dict[str, float]:
        """Return the largest absolute error of each of ``outputs``."""
        return _errors(outputs, self.exact)

    def model_errors(self, model: nn.Module) -> dict[str, float]:
        """Run ``model`` on the batch and return the largest absolute error of each output."""
        return _errors(_run(model, self.inputs), self.exact)


def edge_case_batch(
    model: nn.Module, config: ModelConfig, max_length: int, text: Sample | None = None
) -> dict[str, NDArray[np.int32]]:
    """Make a batch of lengths around block boundaries.

    Args:
        model: determines the extra inputs.
        config: of the model.
        max_length: longer sequences are cut.
        text: fills the sequences; None: random ids do.

    Returns:
        A batch whose longest sequence exceeds the widest window, so that every window cuts.
    """
    widest = max(layer.window for layer in config.layers)
    lengths = (*_LENGTHS, widest + _LENGTHS[-1])
    used = tuple(dict.fromkeys(min(length, max_length) for length in lengths))
    batch = make_batch(model, used, config.vocab_size, np.random.default_rng(SEED))
    if text is not None:
        tokens = sum(used)
        batch["input_ids"][:tokens] = np.resize(np.concatenate(text.sequences), tokens)
    return batch


def make_reference(
    model: nn.Module,
    config: ModelConfig,
    task: str,
    inputs: dict[str, NDArray[np.int32]],
    precision: Precision,
    calibration: Calibration | None = None,
) -> Reference:
    """Run a packed batch through PyTorch, in float64 and in ``precision``.

    Args:
        model: float32; it is converted to ``precision`` in place, which saves a copy.
        config: of the model.
        task: names the outputs.
        inputs: the batch.
        precision: the precision that is judged.
        calibration: for a precision that converts by it.

    Raises:
        CheckpointError: the weights give values that are not finite.
        ExportError: ``precision`` gives values that are not finite.
    """
    outputs, exact_hidden = _run_with_hidden(model.double(), inputs)
    exact = dict(zip(TASKS[task].outputs, outputs, strict=True))
    precision.convert(model, config, calibration)
    own, hidden = _run_with_hidden(model, inputs)
    if not _finite(exact.values()):
        raise CheckpointError(
            "The checkpoint computes values that are not finite, in PyTorch too: its weights are "
            "damaged."
        )
    if not _finite(own):  # an infinite tolerance would let anything pass
        raise ExportError(
            f"In {precision.name} the model overflows on the batch that verifies it, in PyTorch "
            "too. Export with --precision bf16, or fp32."
        )
    cosines = _cosines(hidden, exact_hidden)
    return Reference(inputs, exact, precision, _errors(own, exact), cosines)


def check_direction(reference: Reference) -> None:
    """Raise ExportError if the last hidden states turn away from those in float64."""
    least, mean = reference.precision.least_cosine, float(reference.cosines.mean())
    if least is not None and not mean >= least:  # also refuses NaN
        raise ExportError(
            f"In {reference.precision.name} the last hidden states turn away from those in "
            f"float64: the mean cosine is {mean:.5f}, expected at least {least}. Export with "
            "--precision fp32, or give text of your own with --calibration."
        )


def _run_with_hidden(
    model: nn.Module, batch: Batch
) -> tuple[list[NDArray[np.float64]], NDArray[np.float64]]:
    """Return the outputs and the encoder's last hidden states, [tokens, hidden]."""
    hidden: list[Tensor] = []
    encoder = model.get_submodule("model")
    note = encoder.register_forward_hook(lambda module, inputs, output: hidden.append(output))
    with hooked([note]):
        outputs = _run(model, batch)
    return outputs, np.asarray(hidden[0].double().numpy())


def _cosines(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    cosines: NDArray[np.float64] = (a * b).sum(-1) / lengths
    return cosines


def _run(model: nn.Module, batch: Batch) -> list[NDArray[np.float64]]:
    with torch.inference_mode():
        found = model(**{name: torch.from_numpy(array) for name, array in batch.items()})
        outputs = found if isinstance(found, tuple) else (found,)
        return [np.asarray(output.double().numpy()) for output in outputs]


def _errors(outputs: Arrays, exact: Mapping[str, NDArray[np.float64]]) -> dict[str, float]:
    pairs = zip(exact.items(), outputs, strict=True)
    return {name: float(np.abs(values - right).max()) for (name, right), values in pairs}


def _finite(arrays: Iterable[NDArray[Any]]) -> bool:
    return all(np.isfinite(array).all() for array in arrays)
