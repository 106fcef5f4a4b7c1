"""Statistics and turns, with fake clocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from mbert.bench.figures import figures, ratio
from mbert.bench.measurement import ROUNDS, interleave
from mbert.bench.worker import timed_calls


def test_few_calls_have_no_percentiles() -> None:
    made = figures([4.0, 1.0, 2.0], tokens=100)
    assert (made.calls, made.best, made.median) == (3, 1.0, 2.0)
    assert made.tokens_per_second == 50.0
    assert made.p90 is None
    assert made.p99 is None


def test_percentiles_appear_with_enough_calls() -> None:
    made = figures([float(i) for i in range(11)], tokens=1)
    assert made.p90 == 9.0
    assert made.p99 is None
    made = figures([float(i) for i in range(101)], tokens=1)
    assert (made.p90, made.p99) == (90.0, 99.0)


def test_ratio_is_of_medians_with_the_range_of_the_rounds() -> None:
    ours = [[1.0, 1.0], [2.0], [1.0]]
    theirs = [[3.0], [4.0], [5.0, 5.0]]
    made = ratio(ours, theirs)
    assert made.median == 4.5 / 1.0
    assert (made.low, made.high) == (2.0, 5.0)


def ticking(step: float) -> Callable[[], float]:
    """Return a clock that advances by ``step`` at each call."""
    ticks: Iterator[int] = iter(range(1_000_000))
    return lambda: step * next(ticks)


def test_interleave_makes_three_rounds_and_reverses_the_order() -> None:
    seen = []

    def turn(name: str) -> list[float]:
        seen.append(name)
        return [float(len(seen))]

    turns = interleave(["a", "b"], turn, seconds=0, clock=ticking(1))
    assert ROUNDS == 3
    assert seen == ["a", "b", "b", "a", "a", "b"]
    assert turns == {"a": [[1.0], [4.0], [5.0]], "b": [[2.0], [3.0], [6.0]]}


def test_interleave_goes_on_until_the_time_is_used() -> None:
    # The clock is read at the start and before each round after the first three.
    turns = interleave(["a", "b"], lambda name: [1.0], seconds=4, clock=ticking(1))
    assert len(turns["a"]) == len(turns["b"]) == ROUNDS + 3


def test_a_long_call_is_made_once() -> None:
    assert timed_calls(lambda: None, 1.0, ticking(2.0)) == [2.0]


def test_of_short_calls_the_first_is_left_out() -> None:
    calls: list[int] = []
    seconds = timed_calls(lambda: calls.append(1), 1.0, ticking(0.25))
    assert len(calls) == 4
    assert seconds == [0.25] * 3
