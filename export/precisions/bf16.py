"""bfloat16: rounded weights with float32 sums on a CPU, a plain cast on a GPU."""

from __future__ import annotations

import onnx_ir as ir
import torch
from torch import nn

from mbert.model.families.modernbert_config import ModelConfig

from ..targets import Target
from .base import Calibration, GpuPrecision, Precision
from .fp32 import GpuFloat32
from .fusion import ReducedOnCpu, fuse


class CpuBFloat16(ReducedOnCpu):
    """bfloat16 on a CPU: weights and the rows that enter a product are rounded."""

    name = "bf16"

    def convert(
        self, model: nn.Module, config: ModelConfig, calibration: Calibration | None
    ) -> None:
        """Fuse the layers, with weights, embedding and decoder in bfloat16."""
        fuse(model, config, torch.bfloat16)


class GpuBFloat16(GpuPrecision):
    """bfloat16 on a GPU."""

    name = "bf16"
    dtype = torch.bfloat16

    @property
    def verified_as(self) -> Precision:
        """Return float32: ONNX Runtime computes no bfloat16 on a CPU."""
        return GpuFloat32()

    def target_refusal(self, target: Target | None) -> str | None:
        """Say that the GPU is too old."""
        if target is not None and not target.has_bfloat16:
            return (
                f"{target.name} (compute capability {target.compute_capability}) has no bfloat16; "
                "it begins with 8.0."
            )
        return None

    def finish_graph(self, graph: ir.Model, backend: str) -> None:
        """Cast the outputs of ONNX Runtime's graph to float32: numpy has no bfloat16."""
        if backend != "onnxruntime":
            return
        for i, output in enumerate(list(graph.graph.outputs)):
            if output.dtype != ir.DataType.BFLOAT16:
                continue
            node = ir.node("Cast", [output], {"to": ir.DataType.FLOAT.value})
            node.outputs[0].name, output.name = output.name, f"{output.name}_reduced"
            node.outputs[0].shape = output.shape
            node.outputs[0].dtype = ir.DataType.FLOAT
            graph.graph.append(node)
            graph.graph.outputs[i] = node.outputs[0]
