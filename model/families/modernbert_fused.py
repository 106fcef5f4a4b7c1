"""A layer of the encoder in four linear operators and attention: nothing else is left to compute.

Norms, residual sums and GeGLU belong to the linear operators (:mod:`mbert.model.operators.linear`).
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from ..operators.linear import FusedLinear
from .modernbert import Layer, attend
from .query_expansion import ExpansionTokens


class FusedLayer(nn.Module):
    """Computes what :class:`mbert.model.families.modernbert.Layer` does."""

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
        """Take what is not fused from ``layer``.

        Args:
            layer: its attention's heads, scale and window.
            qkv: the attention's projections.
            out: its output.
            up: the MLP's values and gates, interleaved.
            down: its output.
            attention_norm: weight and bias, [hidden]; None: there is none.
            mlp_norm: likewise.
            epsilon: of both.
            activation: of the values.
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
        how = (self.num_heads, self.scale, self.window)
        context = attend(projected, cu_seqlens, rope, how, expansion)
        x = out.operators.residual_linear(context, *out.operands, x)
        norm = self._norm("mlp_norm")
        gated = up.operators.norm_gated_linear(
            x, *norm, *up.operands, self.epsilon, self.activation
        )
        return down.operators.residual_linear(gated, *down.operands, x)

    def _norm(self, name: str) -> tuple[Tensor, Tensor]:
        return self.get_buffer(f"{name}_weight"), self.get_buffer(f"{name}_bias")


class RoundedEmbedding(nn.Module):
    """Rows of a narrower type, which are used in float32."""

    def __init__(self, weight: Tensor) -> None:
        """Hold ``weight``, [rows, columns]."""
        super().__init__()
        self.weight: Tensor
        self.register_buffer("weight", weight)

    def forward(self, ids: Tensor) -> Tensor:
        """int32 [tokens] -> float32 [tokens, columns]."""
        return F.embedding(ids, self.weight).float()
