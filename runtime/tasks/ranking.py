"""Ranking: documents by their scores for a query, whatever the task that scores them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mbert.errors import InputError

from ..runner import Runner
from . import multi_vector


@dataclass(frozen=True)
class RankResult:
    """A document, its place in the caller's list, and its score for the query."""

    index: int
    score: float
    document: str


# What scores the documents of a query, [documents], for each task that does.
_SCORES: dict[str, Callable[..., Any]] = {"multi-vector": multi_vector.scores}


def rerank(
    runner: Runner, query: str, documents: Sequence[str], *, top_k: int | None, truncate: bool
) -> list[RankResult]:
    """Compute :meth:`mbert.Model.rerank`."""
    runner.need(tuple(_SCORES), "rerank")
    if top_k is not None and top_k < 1:
        raise InputError(f"top_k is {top_k}; expected at least 1, or None.")
    if isinstance(documents, str):
        raise InputError("documents is a string; expected a list of them.")
    scores = _SCORES[runner.manifest.task](runner, query, documents, truncate=truncate)
    order = np.argsort(-scores, kind="stable")[:top_k]
    return [RankResult(int(i), float(scores[i]), documents[i]) for i in order]
