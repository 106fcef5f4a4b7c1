"""8-bit linear layers: the operators in PyTorch, and the modules that use them.

Weights are symmetric integers of 8 bits with one scale for each output; rows of activations are
quantized as they come, with one scale for each row; sums of products are exact integers.

Weights are stored as the kernels read them (docs/operators.md): bytes around 128, in panels of 16
outputs, of which 4 consecutive inputs lie together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .encoder import ACTIVATION_FUNCTIONS, Layer, attend
from .expansion import Expansion

PANEL_OUTPUTS = 16
PANEL_INPUTS = 4
LARGEST = 127
WEIGHT_ZERO = 128
# Rows that are smaller everywhere count as zeros: the inverse of their scale would not be finite.
_SMALLEST = 1e-36

# The operator's integer attribute `activation`.
ACTIVATION_CODES = {"gelu": 0, "silu": 1, "relu": 2, "gelu_pytorch_tanh": 3}


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
    """Round each output's weights, float32 [outputs, inputs], to 255 steps of its own."""
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
    """Lay int8 [outputs, inputs] out as uint8 [outputs / 16, inputs / 4, 16, 4]."""
    outputs, inputs = integers.shape
    panels = (integers.to(torch.int16) + WEIGHT_ZERO).to(torch.uint8)
    return (
        panels.view(outputs // PANEL_OUTPUTS, PANEL_OUTPUTS, inputs // PANEL_INPUTS, PANEL_INPUTS)
        .transpose(1, 2)
        .contiguous()
    )


def unpack(packed: Tensor) -> Tensor:
    """Undo :func:`pack`: int16 [outputs, inputs]."""
    outputs, inputs = packed.shape[0] * PANEL_OUTPUTS, packed.shape[1] * PANEL_INPUTS
    return packed.transpose(1, 2).reshape(outputs, inputs).to(torch.int16) - WEIGHT_ZERO


def interleave(values_then_gates: Tensor) -> Tensor:
    """Reorder [2 * channels, ...] so that panels of values and of their gates take turns."""
    channels = values_then_gates.shape[0] // 2
    panels = values_then_gates.view(
        2, channels // PANEL_OUTPUTS, PANEL_OUTPUTS, *values_then_gates.shape[1:]
    )
    return panels.transpose(0, 1).reshape(values_then_gates.shape)


def _integer_sums(rows: Tensor, weight: Tensor) -> Tensor:
    """``rows @ weight.T``, exact: float32 holds every sum of 1,024 products up to 127^2."""
    parts = zip(
        torch.split(rows.float(), 1024, 1), torch.split(weight.float(), 1024, 1), strict=True
    )
    return sum(((a @ b.T).double() for a, b in parts), start=rows.new_zeros((), dtype=torch.double))


@torch.library.custom_op("mbert::quantized_linear", mutates_args=())
def quantized_linear(x: Tensor, weight: Tensor, weight_scale: Tensor, bias: Tensor) -> Tensor:
    """Linear layer with 8-bit weights.

    Args:
        x: float [tokens, inputs].
        weight: uint8 [outputs / 16, inputs / 4, 16, 4], see :func:`pack`.
        weight_scale: float32 [outputs].
        bias: float32 [outputs].

    Returns:
        [tokens, outputs] of the type of ``x``.
    """
    integers, scale = quantize_rows(x)
    sums = _integer_sums(integers, unpack(weight)).to(x.dtype)
    return sums * scale[:, None] * weight_scale.to(x.dtype) + bias.to(x.dtype)


@torch.library.custom_op("mbert::quantized_residual_linear", mutates_args=())
def quantized_residual_linear(
    x: Tensor, weight: Tensor, weight_scale: Tensor, bias: Tensor, residual: Tensor
) -> Tensor:
    """:func:`quantized_linear` plus ``residual`` [tokens, outputs]."""
    return quantized_linear(x, weight, weight_scale, bias) + residual


@torch.library.custom_op("mbert::quantized_norm_linear", mutates_args=())
def quantized_norm_linear(
    x: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    weight: Tensor,
    weight_scale: Tensor,
    bias: Tensor,
    epsilon: float,
) -> Tensor:
    """:func:`quantized_linear` of the LayerNorm of ``x``; norm_weight, norm_bias: [inputs]."""
    normalized = F.layer_norm(
        x, x.shape[-1:], norm_weight.to(x.dtype), norm_bias.to(x.dtype), epsilon
    )
    return quantized_linear(normalized, weight, weight_scale, bias)


@torch.library.custom_op("mbert::quantized_norm_gated_linear", mutates_args=())
def quantized_norm_gated_linear(
    x: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    weight: Tensor,
    weight_scale: Tensor,
    bias: Tensor,
    epsilon: float,
    activation: str,
) -> Tensor:
    """Activated values times gates, of :func:`quantized_norm_linear`'s interleaved outputs.

    Args:
        activation: one of :data:`ACTIVATION_CODES`.

    Returns:
        [tokens, outputs / 2]; see :func:`interleave` for the order of the weights.
    """
    both = quantized_norm_linear(x, norm_weight, norm_bias, weight, weight_scale, bias, epsilon)
    panels = both.view(x.shape[0], -1, 2, PANEL_OUTPUTS)
    gated = ACTIVATION_FUNCTIONS[activation](panels[:, :, 0]) * panels[:, :, 1]
    return gated.reshape(x.shape[0], -1)


def _outputs(weight: Tensor) -> int:
    return weight.shape[0] * PANEL_OUTPUTS


@quantized_linear.register_fake
def _(x: Tensor, weight: Tensor, *rest: Tensor) -> Tensor:
    return x.new_empty(x.shape[0], _outputs(weight))


@quantized_residual_linear.register_fake
def _(x: Tensor, weight: Tensor, *rest: Tensor) -> Tensor:
    return x.new_empty(x.shape[0], _outputs(weight))


@quantized_norm_linear.register_fake
def _(x: Tensor, norm_weight: Tensor, norm_bias: Tensor, weight: Tensor, *rest: Any) -> Tensor:
    return x.new_empty(x.shape[0], _outputs(weight))


@quantized_norm_gated_linear.register_fake
def _(x: Tensor, norm_weight: Tensor, norm_bias: Tensor, weight: Tensor, *rest: Any) -> Tensor:
    return x.new_empty(x.shape[0], _outputs(weight) // 2)


class QuantizedLinear(nn.Module):
    """A linear layer alone."""

    def __init__(self, weight: QuantizedWeight) -> None:
        """Hold ``weight``, packed."""
        super().__init__()
        self.weight: Tensor
        self.scale: Tensor
        self.bias: Tensor
        self.register_buffer("weight", pack(weight.integers))
        self.register_buffer("scale", weight.scale)
        self.register_buffer("bias", weight.bias)

    @property
    def operands(self) -> tuple[Tensor, Tensor, Tensor]:
        """What the operators take: weight, weight_scale, bias."""
        return self.weight, self.scale, self.bias

    def forward(self, x: Tensor) -> Tensor:
        """[rows, inputs] -> [rows, outputs]."""
        return quantized_linear(x, *self.operands)


class QuantizedEmbedding(nn.Module):
    """Rows of 8 bits, each with a scale of its own."""

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


class QuantizedLayer(nn.Module):
    """A layer of the encoder whose four linear layers are quantized."""

    def __init__(
        self,
        layer: Layer,
        qkv: QuantizedWeight,
        out: QuantizedWeight,
        up: QuantizedWeight,
        down: QuantizedWeight,
        attention_norm: tuple[Tensor, Tensor] | None,
        mlp_norm: tuple[Tensor, Tensor],
        epsilon: float,
        activation: str,
    ) -> None:
        """Take what is not quantized from ``layer``.

        Args:
            layer: its attention's heads, scale and window.
            qkv: of the attention's projections.
            out: of its output.
            up: of the MLP's values and gates, interleaved.
            down: of its output.
            attention_norm: weight and bias, [hidden]; None: there is none.
            mlp_norm: likewise.
            epsilon: of both.
            activation: of the values.
        """
        super().__init__()
        self.attention = layer.attn.num_heads, layer.attn.scale, layer.attn.window
        self.qkv, self.out = QuantizedLinear(qkv), QuantizedLinear(out)
        self.up, self.down = QuantizedLinear(up), QuantizedLinear(down)
        self.has_attention_norm = attention_norm is not None
        for name, norm in (("attention_norm", attention_norm), ("mlp_norm", mlp_norm)):
            for part, value in zip(("weight", "bias"), norm or (), strict=False):
                self.register_buffer(f"{name}_{part}", value)
        self.epsilon = epsilon
        self.activation = activation

    def forward(
        self, x: Tensor, cu_seqlens: Tensor, rope: Tensor, expansion: Expansion | None = None
    ) -> Tensor:
        """[tokens, hidden] -> [tokens, hidden]."""
        if self.has_attention_norm:
            norm = self.get_buffer("attention_norm_weight"), self.get_buffer("attention_norm_bias")
            qkv = quantized_norm_linear(x, *norm, *self.qkv.operands, self.epsilon)
        else:
            qkv = self.qkv(x)
        context = attend(qkv, cu_seqlens, rope, self.attention, expansion)
        x = quantized_residual_linear(context, *self.out.operands, x)
        norm = self.get_buffer("mlp_norm_weight"), self.get_buffer("mlp_norm_bias")
        gated = quantized_norm_gated_linear(
            x, *norm, *self.up.operands, self.epsilon, self.activation
        )
        return quantized_residual_linear(gated, *self.down.operands, x)
