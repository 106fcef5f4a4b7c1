"""The interface of a precision, and the conversion by a plain cast."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import onnx_ir as ir
import torch
from torch import nn

from mbert.model.families.modernbert_config import ModelConfig

from ..targets import Target
from . import fp16_range
from .calibration_data import Sample

Processor = Literal["cpu", "gpu"]


@dataclass(frozen=True)
class Calibration:
    """The text that a precision was calibrated on; subclasses add measurements."""

    sample: Sample

    def record(self) -> dict[str, Any]:
        """Return the manifest's ``calibration``."""
        return {"text": self.sample.name, "tokens": self.sample.tokens}


class Precision(ABC):
    """One precision on one kind of processor.

    Attributes:
        name: in manifests and on the command line: "bf16".
        processor: "cpu" or "gpu".
        factor: the exported graph may err at most this many times as much as PyTorch computing in
            this precision, both against float64.
        least_cosine: lower bound of the mean cosine between PyTorch's last hidden states in this
            precision and in float64, on text; None: the bound of errors suffices.
        calibrates: whether an export runs text through the model first.
        converts_by_calibration: whether :meth:`convert` needs the calibration.
    """

    name: ClassVar[str]
    processor: ClassVar[Processor]
    # In reduced precision every step rounds; in float32 only the order of sums differs.
    factor: ClassVar[float] = 2.0
    least_cosine: ClassVar[float | None] = None
    calibrates: ClassVar[bool] = True
    converts_by_calibration: ClassVar[bool] = False

    @property
    def verified_as(self) -> Precision:
        """Return the precision in which the exporting machine verifies the graph."""
        return self

    def target_refusal(self, target: Target | None) -> str | None:
        """Say why a target does not have this precision; None if it does."""
        return None

    def backend_refusal(self, backend: str) -> str | None:
        """Say why a backend does not have this precision; None if it does."""
        return None

    def model_refusal(self, config: ModelConfig) -> str | None:
        """Say which of the model's sizes the kernels do not take; None if they take all."""
        return None

    def calibrate(self, model: nn.Module, config: ModelConfig, sample: Sample) -> Calibration:
        """Run ``sample`` through a float32 model and keep the measurements."""
        return Calibration(sample)

    def overflow(self, model: nn.Module, calibration: Calibration) -> str | None:
        """Say which value does not fit the precision's range; None if all fit."""
        return None

    @abstractmethod
    def convert(
        self, model: nn.Module, config: ModelConfig, calibration: Calibration | None
    ) -> None:
        """Convert a float32 or float64 model in place, to round as kernels do."""

    def prepare_graph(self, model: nn.Module, config: ModelConfig) -> None:  # noqa: B027
        """Change a converted ``model`` in place, before it is traced."""

    def finish_graph(self, graph: ir.Model, backend: str) -> None:  # noqa: B027
        """Change the traced graph in place, in the form that ``backend`` takes."""


class GpuPrecision(Precision):
    """A cast of all parameters; the ranges of activations are measured."""

    processor = "gpu"
    dtype: ClassVar[torch.dtype]

    def calibrate(self, model: nn.Module, config: ModelConfig, sample: Sample) -> Calibration:
        """Measure the largest magnitude at each place."""
        return ActivationRange(sample, fp16_range.measure(model, sample, config.vocab_size))

    def convert(
        self, model: nn.Module, config: ModelConfig, calibration: Calibration | None
    ) -> None:
        """Cast all parameters."""
        cast(model, self.dtype)


@dataclass(frozen=True)
class ActivationRange(Calibration):
    """The largest magnitudes on a text, by place, in the order of computation."""

    maxima: dict[str, float]

    def record(self) -> dict[str, Any]:
        """Return the manifest's ``calibration``."""
        return {**super().record(), **fp16_range.record(self.maxima)}


def cast(model: nn.Module, dtype: torch.dtype) -> None:
    """Convert the parameters of ``model`` in place; the rotary tables stay in float32.

    A float64 parameter that came from float32 is rounded once.
    """
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    for table in model.buffers():
        table.data = table.data.float()
