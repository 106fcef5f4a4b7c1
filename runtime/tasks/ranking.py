"""Ranking: documents by their scores for a query, whatever the task that scores them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mbert.errors import InputError

from ..inputs import as_sequence, check_top_k
from ..runner import Runner
from . import cross_encoder, multi_vector


@dataclass(frozen=True)
class RankResult:
    """A document, its place in the caller's list, and its score for the query."""

    index: int
    score: float
    document: str


# What scores the documents of a query, [documents], for each task that does.
_SCORES: dict[str, Callable[..., Any]] = {
    "text-classification": cross_encoder.scores,
    "multi-vector": multi_vector.scores,
}


def rerank(
    runner: Runner,
    query: str,
    documents: Sequence[str],
    *,
    top_k: int | None,
    prompt: str | None,
    truncate: bool,
) -> list[RankResult]:
    """Compute :meth:`mbert.Model.rerank`."""
    runner.need(tuple(_SCORES), "rerank")
    task = runner.manifest.task
    check_top_k(top_k)
    if not isinstance(query, str):
        raise InputError(f"query is a {type(query).__name__}; expected a string.")
    if isinstance(documents, str):
        raise InputError("documents is a string; expected a list of them.")
    documents = as_sequence(documents, "documents")
    options: dict[str, Any] = {"truncate": truncate}
    if prompt is not None:
        if task != "text-classification":
            raise InputError(f"prompt is for rerankers; what {task} puts in front is settled.")
        options["prompt"] = prompt
    scores = _SCORES[task](runner, query, documents, **options)
    order = np.argsort(-scores, kind="stable")[:top_k]
    return [RankResult(int(i), float(scores[i]), documents[i]) for i in order]
