"""A ModernBERT layer as four linear operators and attention.

Norms, residual sums and GeGLU are part of the operators (:mod:`mbert.model.operators.linear`).
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from ..operators.linear import FusedLinear
from .modernbert import Layer, attend
from .query_expansion import ExpansionTokens


class FusedLayer(nn.Module):
    """Compute the same as :class:`mbert.model.families.modernbert.Layer`."""

    def __init__(
        self,
        layer: Layer,
        qkv: FusedLinear,
        out: FusedLinear,
        up: FusedLinear,
        down: FusedLinear,
        attention_norm: tuple[Tensor, Tensor] | None,
        mlp_norm: tuple[Tensor, Tensor],
        epsilon: float,
        activation: str,
    ) -> None:
        """Make the layer from its fused parts.

        Args:
            layer: gives the attention's heads, scale and window.
            qkv: projection to Q, K and V.
            out: output projection of the attention.
            up: projection to the MLP's values and gates, interleaved.
            down: output projection of the MLP.
            attention_norm: weight and bias, [hidden] each; None for a layer without this norm.
            mlp_norm: weight and bias, [hidden] each.
            epsilon: of both norms.
            activation: of the MLP's values.
        """
        super().__init__()
        self.num_heads = layer.attn.num_heads
        self.scale = layer.attn.scale
        self.window = layer.attn.window
        self.qkv, self.out, self.up, self.down = qkv, out, up, down
        self.has_attention_norm = attention_norm is not None
        for name, norm in (("attention_norm", attention_norm), ("mlp_norm", mlp_norm)):
            for part, value in zip(("weight", "bias"), norm or (), strict=False):
                self.register_buffer(f"{name}_{part}", value)
        self.epsilon = epsilon
        self.activation = activation

    def forward(
        self, x: Tensor, cu_seqlens: Tensor, rope: Tensor, expansion: ExpansionTokens | None = None
    ) -> Tensor:
        """[tokens, hidden] -> [tokens, hidden]."""
        qkv, out, up, down = self.qkv, self.out, self.up, self.down
        if self.has_attention_norm:
            norm = self._norm("attention_norm")
            projected = qkv.operators.norm_linear(x, *norm, *qkv.operands, self.epsilon)
        else:
            projected = qkv(x)
        attributes = (self.num_heads, self.scale, self.window)
        context = attend(projected, cu_seqlens, rope, attributes, expansion)
        x = out.operators.residual_linear(context, *out.operands, x)
        norm = self._norm("mlp_norm")
        gated = up.operators.norm_gated_linear(
            x, *norm, *up.operands, self.epsilon, self.activation
        )
        return down.operators.residual_linear(gated, *down.operands, x)

    def _norm(self, name: str) -> tuple[Tensor, Tensor]:
        return self.get_buffer(f"{name}_weight"), self.get_buffer(f"{name}_bias")


class RoundedEmbedding(nn.Module):
    """An embedding stored in a narrower type, with rows in float32."""

    def __init__(self, weight: Tensor) -> None:
        """Hold ``weight``, [rows, columns]."""
        super().__init__()
        self.weight: Tensor
        self.register_buffer("weight", weight)

    def forward(self, ids: Tensor) -> Tensor:
        """int32 [tokens] -> float32 [tokens, columns]."""
        return F.embedding(ids, self.weight).float()
