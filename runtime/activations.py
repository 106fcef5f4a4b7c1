"""Activation functions applied to logits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[Any]  # the result has the type of the logits
Function = Callable[[FloatArray], FloatArray]


def softmax(values: FloatArray) -> FloatArray:
    """exp(x) / sum of exp(x), over the last dimension, which may be empty."""
    exponentials = np.exp(values - values.max(axis=-1, keepdims=True, initial=-np.inf))
    scores: FloatArray = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return scores


def sigmoid(values: FloatArray) -> FloatArray:
    """1 / (1 + exp(-x))."""
    # Two forms, so that neither exponential overflows.
    small = np.exp(-np.abs(values))
    positive: FloatArray = np.where(values >= 0, 1 / (1 + small), small / (1 + small))
    return positive


def identity(values: FloatArray) -> FloatArray:
    """Return the logits unchanged."""
    return values


def tanh(values: FloatArray) -> FloatArray:
    """Hyperbolic tangent."""
    bounded: FloatArray = np.tanh(values)
    return bounded


def relu(values: FloatArray) -> FloatArray:
    """max(x, 0)."""
    positive: FloatArray = np.maximum(values, 0)
    return positive
