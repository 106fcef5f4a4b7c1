"""VarlenAttention in PyTorch, and the rotary table that it takes."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from .registration import custom_op

# Queries per step: bounds the score matrix to heads x BLOCK x keys for any sequence length.
BLOCK = 256


def rope_table(head_dim: int, theta: float, max_position: int) -> Tensor:
    """Rotary table, float32 [max_position, head_dim]: row p is cos(p f) then sin(p f).

    f_k = theta ** (-2 k / head_dim) (RoPE, Su et al. 2021, eq. 15). Frequencies and angles are
    rounded to float32, as in the training of the published weights: at position 8191 an exact
    angle differs by up to 5e-4.
    """
    exponents = torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim
    frequencies = 1.0 / (theta**exponents)
    angles = torch.arange(max_position, dtype=torch.float32)[:, None] * frequencies
    return torch.cat((angles.cos(), angles.sin()), dim=1)


@custom_op("VarlenAttention")
def varlen_attention(
    qkv: Tensor, cu_seqlens: Tensor, rope: Tensor, num_heads: int, scale: float, window: int
) -> Tensor:
    """Attend within each packed sequence, after rotating queries and keys.

    Args:
        qkv: [tokens, 3 * num_heads * head_dim]: all Q heads, all K heads, all V heads.
        cu_seqlens: int32 [sequences + 1]: cumulative lengths from 0; the last may be less than
            ``tokens``.
        rope: float32 [max_position, head_dim], made by :func:`rope_table`.
        num_heads: attention heads.
        scale: factor of the scores.
        window: -1 for every key of the sequence; w >= 0 for keys with abs(i - j) <= w.

    Returns:
        [tokens, num_heads * head_dim] of the type of ``qkv``; zeros in the rows behind
        ``cu_seqlens[-1]``.
    """
    tokens = qkv.shape[0]
    head_dim = rope.shape[1]
    work = qkv.double() if qkv.dtype == torch.float64 else qkv.float()
    context = work.new_zeros(tokens, num_heads, head_dim)
    q, k, v = work.view(tokens, 3, num_heads, head_dim).unbind(1)
    offsets = cu_seqlens.tolist()
    for begin, end in itertools.pairwise(offsets):
        cos, sin = rope[: end - begin, None, :].to(work.dtype).chunk(2, dim=-1)
        # [heads, length, head_dim]
        q_seq = rotate(q[begin:end], cos, sin).transpose(0, 1) * scale
        k_seq = rotate(k[begin:end], cos, sin).transpose(0, 1)
        v_seq = v[begin:end].transpose(0, 1)
        for first in range(0, end - begin, BLOCK):
            last = min(first + BLOCK, end - begin)
            low, high = 0, end - begin
            if window >= 0:
                low, high = max(0, first - window), min(high, last + window)
            scores = q_seq[:, first:last] @ k_seq[:, low:high].transpose(1, 2)
            if window >= 0:
                i = torch.arange(first, last)[:, None]
                j = torch.arange(low, high)[None, :]
                scores = scores.masked_fill((i - j).abs() > window, float("-inf"))
            block = scores.softmax(-1) @ v_seq[:, low:high]
            context[begin + first : begin + last] = block.transpose(0, 1)
    return context.view(tokens, num_heads * head_dim).to(qkv.dtype)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the channels of [..., head_dim] in pairs (i, i + head_dim / 2)."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


@varlen_attention.register_fake
def _(
    qkv: Tensor, cu_seqlens: Tensor, rope: Tensor, num_heads: int, scale: float, window: int
) -> Tensor:
    return qkv.new_empty(qkv.shape[0], num_heads * rope.shape[1])
