"""VarlenPooling in PyTorch."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from mbert.plugins.operators import POOLING_MODES

from .registration import custom_op


@custom_op("VarlenPooling")
def varlen_pooling(hidden: Tensor, cu_seqlens: Tensor, mode: str) -> Tensor:
    """Pool each packed sequence into one vector.

    Args:
        hidden: [tokens, hidden_size].
        cu_seqlens: int32 [sequences + 1].
        mode: one of ``POOLING_MODES``. "cls" takes a sequence's first token, "lasttoken" the last;
            "mean" averages the tokens, "weightedmean" with the weights 1, 2, ...;
            "mean_sqrt_len_tokens" divides the sum by the square root of the number of tokens; "max"
            takes the largest value of each channel.

    Returns:
        [sequences, hidden_size] of the type of ``hidden``; an empty sequence gives zeros.

    Raises:
        ValueError: ``mode`` is unknown.
    """
    if mode not in POOLING_MODES:
        raise ValueError(f"pooling mode is {mode!r}; expected one of {list(POOLING_MODES)}")
    work = hidden.double() if hidden.dtype == torch.float64 else hidden.float()
    offsets = cu_seqlens.tolist()
    pooled = work.new_zeros(len(offsets) - 1, hidden.shape[1])
    for i, (begin, end) in enumerate(itertools.pairwise(offsets)):
        if end > begin:
            pooled[i] = _pool(work[begin:end], mode)
    return pooled.to(hidden.dtype)


def _pool(rows: Tensor, mode: str) -> Tensor:
    """[tokens, hidden_size], at least one token -> [hidden_size]."""
    if mode == "cls":
        return rows[0]
    if mode == "lasttoken":
        return rows[-1]
    if mode == "max":
        return rows.amax(0)
    if mode == "mean":
        return rows.mean(0)
    if mode == "mean_sqrt_len_tokens":
        return rows.sum(0) / rows.shape[0] ** 0.5
    weights = torch.arange(1, rows.shape[0] + 1, dtype=rows.dtype)
    return weights @ rows / weights.sum()


@varlen_pooling.register_fake
def _(hidden: Tensor, cu_seqlens: Tensor, mode: str) -> Tensor:
    return hidden.new_empty(cu_seqlens.shape[0] - 1, hidden.shape[1])
