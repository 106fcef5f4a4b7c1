"""The 8-bit linear operators in PyTorch, and the quantization of weights and rows.

Weights are symmetric 8-bit integers with one scale for each output. Rows of activations are
quantized at run time with one scale for each row. Sums of products are exact integers.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .linear import FusedLinear, define_operators, from_panels, to_panels

LARGEST = 127
# The byte that stands for the weight 0.
WEIGHT_ZERO = 128
# Rows below this everywhere count as zeros: the inverse of their scale is not finite.
_SMALLEST = 1e-36


@dataclass(frozen=True)
class QuantizedWeight:
    """``weight[n, k]`` is ``scale[n] * integers[n, k]``.

    Attributes:
        integers: int8 [outputs, inputs], -127 to 127.
        scale: float32 [outputs].
        bias: float32 [outputs].
    """

    integers: Tensor
    scale: Tensor
    bias: Tensor


def quantize_weight(weight: Tensor, bias: Tensor | None) -> QuantizedWeight:
    """Round float32 [outputs, inputs] to 255 steps, with one scale for each output."""
    integers, scale = quantize_rows(weight)
    zeros = weight.new_zeros(weight.shape[0])
    return QuantizedWeight(integers.to(torch.int8), scale, zeros if bias is None else bias)


def quantize_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """Quantize each row of ``x`` by its largest magnitude.

    Returns:
        Integers from -127 to 127 in the type of ``x``, and the scale of each row, float [rows].
    """
    largest = x.abs().amax(-1)
    inverse = torch.where(largest < _SMALLEST, torch.zeros_like(largest), LARGEST / largest)
    integers = (x * inverse[:, None]).round().clamp(-LARGEST, LARGEST)
    return integers, largest / LARGEST


def pack(integers: Tensor) -> Tensor:
    """Reorder int8 [outputs, inputs] into uint8 panels [outputs / 16, inputs / 4, 16, 4]."""
    return to_panels((integers.to(torch.int16) + WEIGHT_ZERO).to(torch.uint8))


def unpack(packed: Tensor) -> Tensor:
    """Invert :func:`pack`: int16 [outputs, inputs]."""
    return from_panels(packed).to(torch.int16) - WEIGHT_ZERO


def _integer_sums(rows: Tensor, weight: Tensor) -> Tensor:
    """Return ``rows @ weight.T``, exact: float32 holds any sum of 1,024 products up to 127^2."""
    parts = zip(
        torch.split(rows.float(), 1024, 1), torch.split(weight.float(), 1024, 1), strict=True
    )
    return sum(((a @ b.T).double() for a, b in parts), start=rows.new_zeros((), dtype=torch.double))


def _quantized_linear(x: Tensor, weight: Tensor, weight_scale: Tensor, bias: Tensor) -> Tensor:
    integers, scale = quantize_rows(x)
    sums = _integer_sums(integers, unpack(weight)).to(x.dtype)
    return sums * scale[:, None] * weight_scale.to(x.dtype) + bias.to(x.dtype)


QUANTIZED_OPERATORS = define_operators("Quantized", _quantized_linear)


def quantized_linear(weight: QuantizedWeight) -> FusedLinear:
    """Make a layer of ``weight``."""
    return FusedLinear(
        QUANTIZED_OPERATORS,
        {
            "weight": pack(weight.integers),
            "weight_scale": weight.scale,
            "bias": weight.bias,
        },
    )


class QuantizedEmbedding(nn.Module):
    """An embedding of 8-bit rows, with one scale for each row."""

    def __init__(self, weight: Tensor) -> None:
        """Quantize ``weight``, float32 [rows, columns]."""
        super().__init__()
        self.weight: Tensor
        self.scale: Tensor
        integers, scale = quantize_rows(weight)
        self.register_buffer("weight", integers.to(torch.int8))
        self.register_buffer("scale", scale[:, None])

    def forward(self, ids: Tensor) -> Tensor:
        """int32 [tokens] -> float32 [tokens, columns]."""
        rows = F.embedding(ids, self.weight).to(self.scale.dtype)
        return rows * F.embedding(ids, self.scale)
