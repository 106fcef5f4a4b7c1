"""Whether two programs computed the same, before anybody times them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import BenchError

# Of the largest value. Float rounding through 22 layers stays far below; a mistake does not.
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Outputs:
    """What a program computed: float32 values of all sequences end to end, in a file."""

    program: str
    path: Path
    shapes: Sequence[Sequence[int]]

    def values(self) -> NDArray[Any]:
        """Map the file; float32 [all values]."""
        return np.memmap(self.path, np.float32, "r")


@dataclass(frozen=True)
class Agreement:
    """The largest difference from mbert, and the peer's largest value."""

    max_abs_error: float
    largest_value: float


def compare(ours: Outputs, theirs: Outputs, workload: str) -> Agreement:
    """Compare two programs' outputs of the same sequences.

    Raises:
        BenchError: other shapes, a value that is not finite, or a difference of more than
            :data:`TOLERANCE` times the largest value.
    """
    hint = (
        "They do not compute the same, so nothing was timed. Is the bundle an export of this very "
        "checkpoint?"
    )
    if [list(shape) for shape in ours.shapes] != [list(shape) for shape in theirs.shapes]:
        raise BenchError(
            f"{workload}: {ours.program} gives values of the shapes {_shown(ours.shapes)}, "
            f"{theirs.program} {_shown(theirs.shapes)}. {hint}"
        )
    expected = theirs.values()
    with np.errstate(invalid="ignore"):  # inf - inf
        error = float(np.abs(ours.values() - expected).max())
    largest = float(np.abs(expected).max())
    # A comparison with NaN is false, one of infinities true.
    if not (math.isfinite(largest) and error <= TOLERANCE * largest):
        raise BenchError(
            f"{workload}: {ours.program} and {theirs.program} differ by {error:.3g}, the largest "
            f"value is {largest:.3g}; expected at most {TOLERANCE:g} of it. {hint}"
        )
    return Agreement(error, largest)


def _shown(shapes: Sequence[Sequence[int]]) -> str:
    listed = ", ".join(str(list(shape)) for shape in shapes[:4])
    return f"{listed}{', ...' if len(shapes) > 4 else ''}"
