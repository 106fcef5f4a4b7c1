"""Labels with scores: the results of classifiers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .activations import Function


@dataclass(frozen=True)
class LabelScore:
    """A label and its score: a probability, or the raw output of a regression."""

    label: str
    score: float


def label_scores(
    logits: NDArray[np.float32], labels: Sequence[str], function: Function
) -> list[LabelScore]:
    """[labels] -> labels with scores, best first."""
    scores = function(logits.astype(np.float64))
    order = np.argsort(-scores, kind="stable")
    return [LabelScore(labels[i], float(scores[i])) for i in order]


def print_labels(text: str, labels: Sequence[LabelScore]) -> tuple[str, str, dict[str, Any]]:
    """Return a text's labels for the command line."""
    shown = "  " + "  ".join(f"{entry.label} {entry.score:.4f}" for entry in labels)
    return text, shown, {"labels": [asdict(entry) for entry in labels]}
