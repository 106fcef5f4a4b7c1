"""float16, on a GPU: eight times finer than bfloat16, of smaller range."""

from __future__ import annotations

import torch
from torch import nn

from . import fp16_range
from .base import ActivationRange, Calibration, GpuPrecision


class GpuFloat16(GpuPrecision):
    """float16 on a GPU."""

    name = "fp16"
    dtype = torch.float16

    def overflow(self, model: nn.Module, calibration: Calibration) -> str | None:
        """Say which activation or weight is beyond float16; None if all fit."""
        assert isinstance(calibration, ActivationRange)
        return fp16_range.overflow(model, calibration.maxima, calibration.sample.name)
