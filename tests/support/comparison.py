"""The tolerance: four times PyTorch's own float32 error, both against float64."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from support.checkpoints import load_oracle
from support.oracle import DenseModernBert

FACTOR = 4.0

# The oracle's method for each task, and the name of transformers' output.
_ORACLE = {
    "feature-extraction": DenseModernBert.hidden,
    "fill-mask": DenseModernBert.fill_mask,
    "text-classification": DenseModernBert.classify,
    "token-classification": DenseModernBert.tag,
    "question-answering": DenseModernBert.answer,
}


@dataclass(frozen=True)
class Judgement:
    """The exact result of each sequence, and the largest error allowed."""

    model: Any
    task: str
    sequences: list[NDArray[np.int32]]
    exact: list[NDArray[np.float64]]
    tolerance: float

    def errors(self, results: list[NDArray[Any]]) -> list[float]:
        """Return the largest absolute error of each sequence's result."""
        return [
            float(np.abs(result - exact).max())
            for result, exact in zip(results, self.exact, strict=True)
        ]

    def mutated(self, mutant: str) -> list[NDArray[np.float64]]:
        return _exact(self.model, self.task, self.sequences, mutant)


def judge(checkpoint: Path, task: str, sequences: list[NDArray[np.int32]]) -> Judgement:
    model = load_oracle(checkpoint, task)
    exact = _exact(model, task, sequences)
    own = max(
        float(np.abs(result - e).max())
        for result, e in zip(transformers_results(model, sequences), exact, strict=True)
    )
    return Judgement(model, task, sequences, exact, FACTOR * own)


def transformers_results(model: Any, sequences: list[NDArray[np.int32]]) -> list[NDArray[Any]]:
    """Compute one sequence at a time, without padding."""
    results = []
    with torch.inference_mode():
        for ids in sequences:
            outputs = model(torch.from_numpy(ids)[None].long()).to_tuple()
            results.append(side_by_side([output[0].numpy() for output in outputs]))
    return results


def side_by_side(outputs: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Return a task's outputs, several as columns of one array."""
    return outputs[0] if len(outputs) == 1 else np.stack(outputs, axis=-1)


def random_sequences(
    lengths: tuple[int, ...] | list[int], vocab_size: int, seed: int = 0
) -> list[NDArray[np.int32]]:
    generator = np.random.default_rng(seed)
    return [generator.integers(5, vocab_size, n, dtype=np.int32) for n in lengths]


def _exact(
    model: Any, task: str, sequences: list[NDArray[np.int32]], mutant: str = ""
) -> list[NDArray[np.float64]]:
    oracle = DenseModernBert(model.config, model.state_dict(), mutant)
    return [_ORACLE[task](oracle, ids).numpy() for ids in sequences]
