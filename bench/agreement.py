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

# Of the largest value, between programs that compute in float32. Float rounding through 22 layers
# stays far below; a mistake does not.
TOLERANCE = 1e-3
# Between any others. It finds another model or another order of sequences; how good a quantisation
# is, is for the reader of the figure to judge.
COSINE = 0.9
_HINT = (
    "They do not compute the same, so nothing was timed. Is the bundle an export of this very "
    "checkpoint?"
)


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
    """How closely a program's values follow those of ``reference``, another program.

    ``largest_value`` is the reference's; ``cosine`` is of all values as one vector.
    """

    reference: str
    max_abs_error: float
    largest_value: float
    cosine: float


def compare(reference: Outputs, other: Outputs, workload: str, exact: bool) -> Agreement:
    """Compare two programs' outputs of the same sequences.

    Args:
        reference: what the other one is measured by.
        other: another program's outputs.
        workload: for messages.
        exact: both compute in float32: they may differ by :data:`TOLERANCE`; else their cosine is
            at least :data:`COSINE`.

    Raises:
        BenchError: other shapes, a value that is not finite, or too large a difference.
    """
    if [list(shape) for shape in reference.shapes] != [list(shape) for shape in other.shapes]:
        raise BenchError(
            f"{workload}: {reference.program} gives values of the shapes "
            f"{_shown(reference.shapes)}, {other.program} {_shown(other.shapes)}. {_HINT}"
        )
    expected, values = reference.values(), other.values()
    with np.errstate(invalid="ignore", over="ignore"):  # inf - inf
        error = float(np.abs(values - expected).max())
        cosine = _cosine(expected, values)
    largest = float(np.abs(expected).max())
    # A comparison with NaN is false, one of infinities true.
    if not (math.isfinite(largest) and math.isfinite(error)) or (
        error > TOLERANCE * largest if exact else not cosine >= COSINE
    ):
        allowed = f"{TOLERANCE:g} of it" if exact else f"a cosine of {COSINE:g}"
        raise BenchError(
            f"{workload}: {reference.program} and {other.program} differ by {error:.3g}, the "
            f"largest value is {largest:.3g} and the cosine {cosine:.4f}; expected at "
            f"{'most' if exact else 'least'} {allowed}. {_HINT}"
        )
    return Agreement(reference.program, error, largest, cosine)


def _cosine(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Return the cosine of two float32 vectors, in [-1, 1] or NaN.

    Sums are of float64: in float32, vectors that are nearly equal may exceed 1.
    """
    aa, bb, ab = (np.einsum("i,i->", x, y, dtype=np.float64) for x, y in ((a, a), (b, b), (a, b)))
    return float(np.clip(ab / math.sqrt(aa * bb), -1, 1))


def _shown(shapes: Sequence[Sequence[int]]) -> str:
    listed = ", ".join(str(list(shape)) for shape in shapes[:4])
    return f"{listed}{', ...' if len(shapes) > 4 else ''}"
