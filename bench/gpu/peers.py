"""PyTorch's attention on packed tokens with the rotary step, for comparison."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from inspect import signature
from typing import Any

import torch
from torch import Tensor

from .results import in_words
from .timing import Program

# [tokens, 3 * num_heads * head_dim] -> [tokens, num_heads * head_dim]
Attend = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Workload:
    """The inputs of one attention layer on the GPU, as VarlenAttention takes them.

    ``positions`` is each token's offset in its sequence, ``longest`` the longest sequence.
    """

    qkv: Tensor
    cu_seqlens: Tensor
    rope: Tensor
    positions: Tensor
    longest: int
    num_heads: int
    scale: float
    window: int

    @property
    def tokens(self) -> int:
        """Return the number of tokens."""
        return self.qkv.shape[0]

    @property
    def head_dim(self) -> int:
        """Return the channels of a head."""
        return self.rope.shape[1]


def make_workload(
    lengths: list[int],
    num_heads: int,
    head_dim: int,
    window: int,
    dtype: torch.dtype,
    device: str,
) -> Workload:
    """Make random inputs for packed sequences of these lengths."""
    generator = torch.Generator().manual_seed(0)
    tokens, longest = sum(lengths), max(lengths)
    qkv = torch.randn(tokens, 3 * num_heads * head_dim, generator=generator)
    offsets = torch.tensor([0, *lengths]).cumsum(0)
    positions = torch.cat([torch.arange(length) for length in lengths])
    frequencies = 10_000.0 ** -(torch.arange(0, head_dim, 2) / head_dim)
    angles = torch.arange(longest)[:, None] * frequencies
    rope = torch.cat((angles.cos(), angles.sin()), dim=1)
    return Workload(
        qkv.to(device, dtype),
        offsets.to(device, torch.int32),
        rope.to(device),
        positions.to(device),
        longest,
        num_heads,
        head_dim**-0.5,
        window,
    )


def rotated(qkv: Tensor, rope_rows: Tensor, num_heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Split qkv, and rotate queries and keys in float32 (split-half form).

    Args:
        qkv: [tokens, 3 * num_heads * head_dim].
        rope_rows: float32 [tokens, head_dim]: the row of each token's position.
        num_heads: attention heads.

    Returns:
        q, k and v, [tokens, num_heads, head_dim] each, of the type of ``qkv``.
    """
    q, k, v = qkv.view(qkv.shape[0], 3, num_heads, -1).unbind(1)
    cos, sin = rope_rows[:, None].chunk(2, dim=-1)

    def rotate(x: Tensor) -> Tensor:
        first, second = x.float().chunk(2, dim=-1)
        turned = torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
        return turned.to(x.dtype)

    return rotate(q), rotate(k), v


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function, so that the rotary step becomes one kernel."""
    made: Callable[..., Any] = torch.compile(function)
    return made


def open_peers(work: Workload) -> tuple[dict[str, Program], list[str]]:
    """Set up the peers; each returns [tokens, num_heads * head_dim].

    Args:
        work: the inputs.

    Returns:
        The peers that ran once, by name, and why the others did not.
    """
    peers: dict[str, Program] = {}
    reasons = []
    for name, opener in {"flash": flash, "flex": flex}.items():
        try:
            program = partial(opener(work), work.qkv)
            program()
        except Exception as error:
            reasons.append(f"{name}, window {work.window}: {in_words(error)}")
        else:
            peers[name] = program
    return peers, reasons


def flash(work: Workload) -> Attend:
    """Return PyTorch's flash attention on packed sequences."""
    rotate = compiled(rotated)
    rows = work.rope[work.positions]
    try:
        varlen_attn: Any = import_module("torch.nn.attention.varlen").varlen_attn
    except ImportError:
        return _nested(work, rotate, rows)
    # PyTorch 2.10's function lacks these parameters.
    if not signature(varlen_attn).parameters.keys() >= {"scale", "window_size"}:
        return _nested(work, rotate, rows)
    # flash attention's window: keys on the left and on the right.
    kinds = {} if work.window < 0 else {"window_size": (work.window, work.window)}

    def attend(qkv: Tensor) -> Tensor:
        q, k, v = rotate(qkv, rows, work.num_heads)
        offsets, longest = work.cu_seqlens, work.longest
        context: Tensor = varlen_attn(
            q, k, v, offsets, offsets, longest, longest, scale=work.scale, **kinds
        )
        return context.flatten(1)

    return attend


def _nested(work: Workload, rotate: Callable[..., Any], rows: Tensor) -> Attend:
    """Return the same kernel by nested tensors, for PyTorch before 2.11; no windows."""
    if work.window >= 0:
        raise NotImplementedError("this PyTorch has no packed flash attention with a window")
    offsets = work.cu_seqlens.long()

    def attend(qkv: Tensor) -> Tensor:
        q, k, v = (
            torch.nested.nested_tensor_from_jagged(x.contiguous(), offsets).transpose(1, 2)
            for x in rotate(qkv, rows, work.num_heads)
        )
        context = torch.nn.functional.scaled_dot_product_attention(q, k, v, scale=work.scale)
        return context.transpose(1, 2).values().flatten(1)

    return attend


def flex(work: Workload) -> Attend:
    """Return flex attention; its block mask, made once for all layers, is not timed."""
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    device = work.qkv.device
    lengths = work.cu_seqlens.diff().long()
    document = torch.repeat_interleave(torch.arange(len(lengths), device=device), lengths)
    reach = work.window if work.window >= 0 else work.tokens

    def sees(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (document[query] == document[key]) & ((query - key).abs() <= reach)

    # Compiled, as it would otherwise allocate tokens x tokens.
    mask = compiled(create_block_mask)(
        sees, None, None, work.tokens, work.tokens, device=device.type
    )
    rotate, fused = compiled(rotated), compiled(flex_attention)
    rows = work.rope[work.positions]

    def attend(qkv: Tensor) -> Tensor:
        q, k, v = (x.transpose(0, 1)[None] for x in rotate(qkv, rows, work.num_heads))
        context: Tensor = fused(q, k, v, block_mask=mask, scale=work.scale)
        return context[0].transpose(0, 1).flatten(1)

    return attend
