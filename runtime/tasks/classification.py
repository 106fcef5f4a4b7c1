"""Text classification: labels with scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mbert.errors import InputError

from ..runner import Runner
from ..tokenization import Text


@dataclass(frozen=True)
class LabelScore:
    """A label and its score: a probability, or the raw output of a regression."""

    label: str
    score: float


def classify(
    runner: Runner, texts: Sequence[Text], *, top_k: int | None, truncate: bool
) -> list[list[LabelScore]]:
    """Compute :meth:`mbert.Model.classify` for several texts."""
    if top_k is not None and top_k < 1:
        raise InputError(f"top_k is {top_k}; expected at least 1, or None.")
    if isinstance(texts, tuple) and len(texts) == 2 and all(isinstance(t, str) for t in texts):
        raise InputError(
            "A tuple of two strings could be a pair or two texts. Pass a list: [(a, b)] for a "
            "pair, [a, b] for two texts."
        )
    labels, problem_type = runner.manifest.labels or (), runner.manifest.problem_type
    return runner.for_each(
        runner.encode(texts, truncate),
        lambda _, logits: label_scores(logits, labels, problem_type)[:top_k],
    )


def label_scores(
    logits: NDArray[np.float32], labels: Sequence[str], problem_type: str | None
) -> list[LabelScore]:
    """[labels] -> labels with scores, best first.

    Softmax over the labels; a sigmoid for each where there is one label or the checkpoint's
    ``problem_type`` is multi_label_classification; raw values for a regression. These are the
    rules of the transformers pipeline.
    """
    values = logits.astype(np.float64)
    if problem_type == "regression":
        scores = values
    elif problem_type == "multi_label_classification" or len(labels) == 1:
        scores = _sigmoid(values)
    else:
        scores = np.exp(values - values.max())
        scores /= scores.sum()
    order = np.argsort(-scores, kind="stable")
    return [LabelScore(labels[i], float(scores[i])) for i in order]


def _sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    # Two forms, so that neither exponential overflows.
    small = np.exp(-np.abs(values))
    positive: NDArray[np.float64] = np.where(values >= 0, 1 / (1 + small), small / (1 + small))
    return positive
