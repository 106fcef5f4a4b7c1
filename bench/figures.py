"""From the times of single calls to the figures of a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

# Fewer calls say nothing about such a percentile.
CALLS_FOR_P90 = 10
CALLS_FOR_P99 = 100


@dataclass(frozen=True)
class Figures:
    """Of one program on one workload; times are seconds of one call over all its sequences.

    ``tokens_per_second`` counts real tokens, never padding, at the median. ``p90`` and ``p99`` are
    None where there were too few calls.
    """

    calls: int
    best: float
    median: float
    p90: float | None
    p99: float | None
    tokens_per_second: float


@dataclass(frozen=True)
class Ratio:
    """How many times faster mbert is than a peer: of the medians, and in each round.

    ``low`` and ``high`` are the least and the greatest of the rounds: how far to trust it.
    """

    median: float
    low: float
    high: float


def figures(seconds: Sequence[float], tokens: int) -> Figures:
    """Summarise the times of single calls, each over ``tokens`` real tokens."""
    middle = median(seconds)
    return Figures(
        calls=len(seconds),
        best=min(seconds),
        median=middle,
        p90=_percentile(seconds, 90, CALLS_FOR_P90),
        p99=_percentile(seconds, 99, CALLS_FOR_P99),
        tokens_per_second=tokens / middle,
    )


def ratio(ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]]) -> Ratio:
    """Compare the times of two programs; both hold the calls of each round, in seconds."""
    rounds = [median(b) / median(a) for a, b in zip(ours, theirs, strict=True)]
    whole = median(_flat(theirs)) / median(_flat(ours))
    return Ratio(whole, min(rounds), max(rounds))


def _flat(turns: Sequence[Sequence[float]]) -> list[float]:
    return [seconds for turn in turns for seconds in turn]


def _percentile(seconds: Sequence[float], percent: int, calls: int) -> float | None:
    return float(np.percentile(seconds, percent)) if len(seconds) >= calls else None
