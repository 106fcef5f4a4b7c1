"""Fill-mask: the most probable tokens at each mask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..packing import Int32Array
from ..tokenization import Tokenizer


@dataclass(frozen=True)
class TokenPrediction:
    """A candidate for a mask; ``score`` is its probability over the vocabulary."""

    token: str
    token_id: int
    score: float


def mask_rows(input_ids: Int32Array, mask_token_id: int) -> Int32Array:
    """Rows of the packed tokens that hold the mask."""
    return np.flatnonzero(input_ids == mask_token_id).astype(np.int32)


def predictions(
    logits: NDArray[np.float32], top_k: int, tokenizer: Tokenizer
) -> list[list[TokenPrediction]]:
    """[masks, vocab] -> for each mask the ``top_k`` candidates, best first."""
    return [
        [TokenPrediction(tokenizer.token(int(i)), int(i), float(p)) for i, p in best(row, top_k)]
        for row in logits
    ]


def best(row: NDArray[np.float32], top_k: int) -> list[tuple[int, float]]:
    """Softmax of a row of logits, its ``top_k`` largest with their indices, best first."""
    top_k = min(top_k, row.size)
    exponentials = np.exp(row - row.max(), dtype=np.float64)
    candidates = np.argpartition(-row, top_k - 1)[:top_k]
    ordered = candidates[np.argsort(-row[candidates], kind="stable")]
    total = exponentials.sum()
    return [(int(i), float(exponentials[i] / total)) for i in ordered]
