"""float32, on a CPU and on a GPU."""

from __future__ import annotations

import torch
from torch import nn

from mbert.model.families.modernbert_config import ModelConfig

from .base import Calibration, GpuPrecision, Precision, cast
from .fusion import fuse, unfit_size

# The sums of a product may be added in another order: nothing else differs.
_FACTOR = 4.0


class CpuFloat32(Precision):
    """float32 on a CPU, in fused layers if the kernels have panels for all sizes."""

    name = "fp32"
    processor = "cpu"
    factor = _FACTOR
    calibrates = False

    def convert(
        self, model: nn.Module, config: ModelConfig, calibration: Calibration | None
    ) -> None:
        """Cast to float32."""
        cast(model, torch.float32)

    def prepare_graph(self, model: nn.Module, config: ModelConfig) -> None:
        """Fuse the layers, unless the kernels have no panels for a size."""
        if unfit_size(config) is None:
            fuse(model, config, torch.float32)


class GpuFloat32(GpuPrecision):
    """float32 on a GPU."""

    name = "fp32"
    dtype = torch.float32
    factor = _FACTOR

    def backend_refusal(self, backend: str) -> str | None:
        """Say that TensorRT-RTX cannot fuse attention in float32."""
        if backend == "tensorrt-rtx":
            return "TensorRT-RTX has no fused attention in float32."
        return None
