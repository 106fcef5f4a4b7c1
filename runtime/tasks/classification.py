"""Text classification: labels with scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class LabelScore:
    """A label and its score: a probability, or the raw output of a regression."""

    label: str
    score: float


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
