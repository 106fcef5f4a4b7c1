"""Fill-mask: the most probable tokens at each mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mbert.errors import InputError

from ..inputs import check_top_k
from ..runner import Runner
from ..tokenization import Text, Tokenizer


@dataclass(frozen=True)
class TokenPrediction:
    """A candidate for a mask; ``score`` is its probability over the vocabulary."""

    token: str
    token_id: int
    score: float


def fill_mask(
    runner: Runner, texts: Sequence[Text], *, top_k: int, truncate: bool
) -> list[list[list[TokenPrediction]]]:
    """Compute :meth:`mbert.Model.fill_mask` for several texts."""
    check_top_k(top_k, optional=False)
    sequences = runner.encode(texts, truncate)
    for i, ids in enumerate(sequences):
        if not runner.mask_rows(ids).size:
            raise InputError(
                f"Text {i} has no mask token. Write [MASK], or what the tokenizer uses for it, "
                "where a token is to be predicted."
            )
    return runner.for_each(
        sequences, lambda _, logits: predictions(logits, top_k, runner.tokenizer)
    )


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
