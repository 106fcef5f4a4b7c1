"""Turns of programs, with a fake clock."""

from __future__ import annotations

import pytest

from mbert.bench.gpu.timing import MOST_CALLS, WARM_UP_CALLS, Program, time_in_turns


class Clock:
    """A clock on which a call takes the seconds that its program returns."""

    def __init__(self) -> None:
        self.turns: list[tuple[float, int]] = []

    def __call__(self, program: Program, calls: int) -> float:
        seconds = program()
        assert isinstance(seconds, float)
        self.turns.append((seconds, calls))
        return seconds * calls


def test_turns_are_interleaved_and_as_long_for_all() -> None:
    clock = Clock()
    found = time_in_turns({"a": lambda: 1e-3, "b": lambda: 1e-4, "c": lambda: 1.0}, clock, 4)
    assert [(t.best, t.median) for t in found.values()] == [
        (pytest.approx(s), pytest.approx(s)) for s in (1e-3, 1e-4, 1.0)
    ]
    assert [(t.turns, t.calls) for t in found.values()] == [(4, 2), (4, 20), (4, 1)]
    warm_up, turns = clock.turns[:6], clock.turns[6:]
    assert {calls for _, calls in warm_up} == {WARM_UP_CALLS}
    assert turns == [(1e-3, 2), (1e-4, 20), (1.0, 1)] * 4


def test_best_and_median_of_one_call() -> None:
    # The first two turns warm up.
    times = iter([9.0, 4e-4, 4e-4, 2e-4, 3e-4])
    found = time_in_turns({"a": lambda: next(times)}, Clock(), 3)["a"]
    assert (found.best, found.median, found.calls) == (
        pytest.approx(2e-4),
        pytest.approx(3e-4),
        5,
    )


def test_calls_are_bounded_and_nothing_takes_no_time() -> None:
    found = time_in_turns({"a": lambda: 0.0}, Clock(), 1)["a"]
    assert found.calls == MOST_CALLS
