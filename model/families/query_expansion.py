"""Attention of ColBERT's query expansion: tokens that attend but are not attended to."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..operators.attention import rotate


@dataclass(frozen=True)
class ExpansionTokens:
    """Expansion tokens, which are the last rows of a packed batch.

    Attributes:
        tokens: int32 [expansions, 2]: sequence and position of each expansion token.
        seen: int32 [seen, 3]: row, sequence and position of each token that they attend to.
    """

    tokens: Tensor
    seen: Tensor

    def attend(
        self, qkv: Tensor, rope: Tensor, num_heads: int, scale: float, window: int
    ) -> Tensor:
        """Compute the context of the expansion tokens.

        The scores are dense, because queries are short. A token whose window holds no token gets
        zeros.

        Args:
            qkv: [tokens, 3 * num_heads * head_dim], as in
                :func:`mbert.model.operators.attention.varlen_attention`.
            rope: float32 [max_position, head_dim].
            num_heads: attention heads.
            scale: factor of the scores.
            window: -1, or the largest distance.

        Returns:
            [expansions, num_heads * head_dim] of the type of ``qkv``.
        """
        work = qkv if qkv.dtype == torch.float64 else qkv.float()
        rows, seen_sequence, seen_position = self.seen.unbind(1)
        sequence, position = self.tokens.unbind(1)
        first = qkv.shape[0] - self.tokens.shape[0]
        q, _, _ = _heads(work[first:], num_heads)
        # Clamped like every gather, so that device code never reads outside the rows.
        seen = F.embedding(rows.clamp(0, qkv.shape[0] - 1), work)
        _, k, v = _heads(seen, num_heads)
        q, k = _rotated(q, rope, position), _rotated(k, rope, seen_position)
        visible = sequence[:, None] == seen_sequence
        if window >= 0:
            visible = visible & ((position[:, None] - seen_position).abs() <= window)
        # [heads, expansions, seen]
        scores = q.transpose(0, 1) @ k.permute(1, 2, 0) * scale
        weights = scores.masked_fill(~visible, torch.finfo(scores.dtype).min).softmax(-1)
        context = (weights * visible) @ v.transpose(0, 1)
        return context.transpose(0, 1).flatten(1).to(qkv.dtype)


def _heads(qkv: Tensor, num_heads: int) -> tuple[Tensor, ...]:
    """[rows, 3 * heads * head_dim] -> queries, keys and values, each [rows, heads, head_dim]."""
    return qkv.view(qkv.shape[0], 3, num_heads, -1).unbind(1)


def _rotated(x: Tensor, rope: Tensor, position: Tensor) -> Tensor:
    """Rotate [rows, heads, head_dim] to the positions of the rows."""
    table = F.embedding(position.clamp(0, rope.shape[0] - 1), rope).to(x.dtype)
    cos, sin = table[:, None, :].chunk(2, dim=-1)
    return rotate(x, cos, sin)
