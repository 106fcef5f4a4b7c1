"""The expected results of attention kernels, in float64, and their tolerance."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mbert.model.operators.attention import varlen_attention
from support.cases import Case
from support.oracle import attention

FLOAT32_FACTOR = 4.0
REDUCED_FACTOR = 2.0
# The least tolerance, where PyTorch errs by nothing: rounding of values of a few units.
FLOAT32_FLOOR = 1e-7


def reference(
    case: Case, inputs: dict[str, NDArray[Any]], rows: NDArray[Any] | None = None
) -> NDArray[np.float64]:
    """Compute attention in float64, for ``rows`` or all; other rows are zeros."""
    return attention(
        **inputs, num_heads=case.num_heads, scale=case.scale, window=case.window, rows=rows
    )


@dataclass(frozen=True)
class Judgement:
    """The exact rows of the context, and the largest error allowed."""

    exact: NDArray[np.float64]
    tolerance: float

    def check(self, output: NDArray[Any]) -> None:
        assert output.shape == self.exact.shape
        if self.exact.size:
            assert np.abs(output - self.exact).max() <= self.tolerance


def judge(
    case: Case,
    inputs: dict[str, NDArray[Any]],
    dtype: str = "float32",
    rows: NDArray[Any] | None = None,
) -> Judgement:
    """Call :func:`measure` on one thread."""
    with _one_thread():
        return measure(case, inputs, dtype, rows)


def measure(
    case: Case,
    inputs: dict[str, NDArray[Any]],
    dtype: str = "float32",
    rows: NDArray[Any] | None = None,
) -> Judgement:
    """Allow 4 times PyTorch's own error in float32, and twice in other types.

    ``inputs["qkv"]`` is float32 that ``dtype`` holds exactly. ``rows``: those to judge; None: all.
    """
    part = slice(None) if rows is None else rows
    exact = reference(case, inputs, rows)[part]
    if dtype == "float32":
        own = pytorch(case, inputs)[part]
        factor, floor = FLOAT32_FACTOR, FLOAT32_FLOOR
    else:
        own = pytorch_reduced(case, inputs, dtype, rows)[part]
        factor, floor = REDUCED_FACTOR, 0.0
    return Judgement(exact, factor * float(np.abs(own - exact).max(initial=0)) + floor)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Use one thread: small matrices take less time than waiting for threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def pytorch(
    case: Case, inputs: dict[str, NDArray[Any]], dtype: torch.dtype = torch.float32
) -> NDArray[Any]:
    """Compute the operator's PyTorch reference."""
    tensors = {name: torch.from_numpy(array) for name, array in inputs.items()}
    tensors["qkv"] = tensors["qkv"].to(dtype)
    output = varlen_attention(
        **tensors, num_heads=case.num_heads, scale=case.scale, window=case.window
    )
    assert output.dtype == dtype
    return output.numpy()


def pytorch_reduced(
    case: Case, inputs: dict[str, NDArray[Any]], dtype: str, rows: NDArray[Any] | None = None
) -> NDArray[Any]:
    """Compute PyTorch's attention in ``dtype``: rotation in float32, then sdpa."""
    hidden = case.num_heads * case.head_dim
    reduced = getattr(torch, dtype)
    tokens = inputs["qkv"].shape[0]
    rows = np.arange(tokens) if rows is None else rows
    output = np.zeros((tokens, hidden), np.float32)
    for begin, end in itertools.pairwise(inputs["cu_seqlens"]):
        length = end - begin
        parts = torch.from_numpy(inputs["qkv"][begin:end]).view(
            length, 3, case.num_heads, case.head_dim
        )
        q, k, v = parts.permute(1, 2, 0, 3)
        cos, sin = torch.from_numpy(inputs["rope"][:length]).chunk(2, dim=1)
        q, k = (
            torch.cat((x1 * cos - x2 * sin, x2 * cos + x1 * sin), -1).to(reduced)
            for x1, x2 in (x.chunk(2, -1) for x in (q, k))
        )
        own = rows[(rows >= begin) & (rows < end)]
        index = torch.from_numpy(own - begin)
        window = case.window if case.window >= 0 else length
        near = (index[:, None] - torch.arange(length)).abs() <= window
        result = torch.nn.functional.scaled_dot_product_attention(
            q[:, index], k, v.to(reduced), attn_mask=near, scale=case.scale
        )
        output[own] = result.transpose(0, 1).reshape(len(own), hidden).float().numpy()
    return output
