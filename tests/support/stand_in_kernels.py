"""PyTorch references in place of the CUDA kernels, for tests of the GPU bench."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from mbert.bench.gpu.context import Context
from mbert.errors import BackendError
from mbert.model.operators.attention import varlen_attention
from mbert.model.operators.pooling import varlen_pooling

ROOT = Path(__file__).parents[2]


class ReferenceKernels:
    """The references, with the interface of ``Kernels``."""

    def attention(
        self,
        qkv: Tensor,
        cu_seqlens: Tensor,
        rope: Tensor,
        num_heads: int,
        scale: float,
        window: int,
        in_workspace: bool | None = None,
    ) -> Tensor:
        if rope.shape[1] not in (32, 64, 128):
            raise BackendError(f"head_dim is {rope.shape[1]}")
        if (cu_seqlens.diff() < 0).any() or cu_seqlens[0] or cu_seqlens[-1] > qkv.shape[0]:
            return qkv.new_zeros(qkv.shape[0], num_heads * rope.shape[1])
        return varlen_attention(qkv, cu_seqlens, rope, num_heads, scale, window)

    def prefers_workspace(self, window: int) -> bool:
        return window < 0

    def pooling(self, hidden: Tensor, cu_seqlens: Tensor, mode: str) -> Tensor:
        return varlen_pooling(hidden, cu_seqlens, mode)


class Changed(ReferenceKernels):
    """The references, with attention changed."""

    def __init__(self, change: Callable[..., Tensor]) -> None:
        self._change = change

    def attention(self, *arguments: Any) -> Tensor:
        return self._change(super().attention, *arguments)


def context(
    kernels: Any, sm: int = 90, seconds: float = 600, card: str = "NVIDIA H100 80GB HBM3"
) -> Context:
    return Context(ROOT, kernels, card, sm, True, time.monotonic() + seconds, "cpu")
