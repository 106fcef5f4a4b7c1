"""Random sequences, and transformers' results, for tests of models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .checkpoints import load_oracle

# From token ids to the model's first output.
Oracle = Callable[[Any], NDArray[np.float32]]


def sequences_of(lengths: Sequence[int], seed: int = 0) -> list[NDArray[np.int32]]:
    """Return random token ids, none of them special."""
    generator = np.random.default_rng(seed)
    return [generator.integers(5, 500, length, dtype=np.int32) for length in lengths]


def close(found: Any, expected: Any) -> bool:
    """Tell whether arrays are equal but for float rounding: 2e-5 of the largest value."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    largest = np.abs(expected).max(initial=0.0)
    return bool(np.abs(found - expected).max(initial=0.0) <= 2e-5 * largest)


def first_output(checkpoint: Path, task: str) -> Oracle:
    """Return transformers' model as a function of one sequence of ids."""
    oracle = load_oracle(checkpoint, task)

    @torch.no_grad()
    def compute(ids: Any) -> NDArray[np.float32]:
        return np.asarray(oracle(torch.as_tensor(np.array(ids))[None].long())[0][0])

    return compute
