"""Cross encoders: a query with a document, read together and scored."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mbert.errors import InputError

from ..manifest import Reranking
from ..runner import Runner
from .embedding import settle_prompt
from .scores import FloatArray, Function, identity, sigmoid


def _tanh(values: FloatArray) -> FloatArray:
    bounded: FloatArray = np.tanh(values)
    return bounded


def _relu(values: FloatArray) -> FloatArray:
    positive: FloatArray = np.maximum(values, 0)
    return positive


# By the names that manifests have.
_ACTIVATIONS: dict[str, Function] = {
    "Identity": identity,
    "Sigmoid": sigmoid,
    "Tanh": _tanh,
    "ReLU": _relu,
}


def scores(
    runner: Runner,
    query: str,
    documents: Sequence[str],
    *,
    truncate: bool,
    prompt: str | None = None,
) -> NDArray[np.float64]:
    """What CrossEncoder.predict gives for the query with each document, [documents].

    Raises:
        InputError: the model has several labels; not text; too long; an unknown prompt.
    """
    labels = runner.manifest.labels or ()
    if len(labels) != 1:
        raise InputError(
            f"rerank needs a classifier with one label; this one has {len(labels)} "
            f"({', '.join(labels[:5])}). Use classify() with pairs."
        )
    # A bundle without the entry was exported before there was one.
    settings = runner.manifest.reranking or Reranking("Sigmoid", {}, None)
    asked = settle_prompt(prompt, settings) + query
    found = runner.for_each(
        runner.encode([(asked, document) for document in documents], truncate),
        lambda _, logits: float(logits[0]),
    )
    return _ACTIVATIONS[settings.activation](np.array(found, np.float64))
