"""Text classification: labels with scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mbert.errors import InputError

from ..inputs import check_top_k
from ..runner import Runner
from ..tokenization import Text
from .scores import Function, identity, sigmoid, softmax


@dataclass(frozen=True)
class LabelScore:
    """A label and its score: a probability, or the raw output of a regression."""

    label: str
    score: float


def classify(
    runner: Runner,
    texts: Sequence[Text],
    *,
    top_k: int | None,
    function_to_apply: str | None,
    truncate: bool,
) -> list[list[LabelScore]]:
    """Compute :meth:`mbert.Model.classify` for several texts."""
    check_top_k(top_k)
    if isinstance(texts, tuple) and len(texts) == 2 and all(isinstance(t, str) for t in texts):
        raise InputError(
            "A tuple of two strings could be a pair or two texts. Pass a list: [(a, b)] for a "
            "pair, [a, b] for two texts."
        )
    labels = runner.manifest.labels or ()
    name = function_to_apply or default_function(labels, runner.manifest.problem_type)
    if name not in FUNCTIONS:
        raise InputError(
            f"function_to_apply is {name!r}; expected one of {', '.join(FUNCTIONS)}, or None."
        )
    return runner.for_each(
        runner.encode(texts, truncate),
        lambda _, logits: label_scores(logits, labels, FUNCTIONS[name])[:top_k],
    )


def default_function(labels: Sequence[str], problem_type: str | None) -> str:
    """What makes scores of logits where the caller does not say: the transformers pipeline's rule.

    Raw values for a regression; a sigmoid for each label where there is one, or ``problem_type`` is
    multi_label_classification; else softmax over the labels.
    """
    if problem_type == "regression":
        return "none"
    if problem_type == "multi_label_classification" or len(labels) == 1:
        return "sigmoid"
    return "softmax"


def label_scores(
    logits: NDArray[np.float32], labels: Sequence[str], function: Function
) -> list[LabelScore]:
    """[labels] -> labels with scores, best first."""
    scores = function(logits.astype(np.float64))
    order = np.argsort(-scores, kind="stable")
    return [LabelScore(labels[i], float(scores[i])) for i in order]


FUNCTIONS: dict[str, Function] = {"softmax": softmax, "sigmoid": sigmoid, "none": identity}
