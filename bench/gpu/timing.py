"""Time programs that take turns on one GPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch

from .results import in_words

Program = Callable[[], object]
# Returns the seconds of a number of calls in a row.
Turn = Callable[[Program, int], float]

WARM_UP_CALLS = 3
# Long beside the events' resolution of 0.5 us, short enough for many rounds.
TURN_SECONDS = 0.002
MOST_CALLS = 200
GRAPH_CALLS = 20


@dataclass(frozen=True)
class Timing:
    """Seconds of a call: best and median of ``turns`` turns of ``calls`` calls."""

    best: float
    median: float
    turns: int
    calls: int


def gpu_turn(program: Program, calls: int) -> float:
    """Time calls with CUDA events on the current stream."""
    event: Any = torch.cuda.Event
    begin, end = (event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(calls):
        program()
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end)) / 1e3


def time_in_turns(programs: Mapping[str, Program], turn: Turn, rounds: int) -> dict[str, Timing]:
    """Warm the programs up, then let each have a turn in every round.

    Args:
        programs: by name; they compute on the current stream.
        turn: times one turn.
        rounds: turns of each program.
    """
    calls: dict[str, int] = {}
    for name, program in programs.items():
        turn(program, WARM_UP_CALLS)
        seconds = turn(program, WARM_UP_CALLS) / WARM_UP_CALLS
        calls[name] = max(1, min(MOST_CALLS, round(TURN_SECONDS / max(seconds, 1e-9))))
    times: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(rounds):
        for name, program in programs.items():
            times[name].append(turn(program, calls[name]) / calls[name])
    return {
        name: Timing(min(turns), median(turns), len(turns), calls[name])
        for name, turns in times.items()
    }


def in_graph(program: Program, calls: int) -> Program:
    """Capture calls in a CUDA graph and return its replay, without host work."""
    # First calls may do what a capture forbids, such as allocate.
    stream: Any = torch.cuda.Stream
    side = stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        program()
    torch.cuda.current_stream().wait_stream(side)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(calls):
            program()
    return graph.replay


def graph_timings(
    programs: Mapping[str, Program], rounds: int, calls: int = GRAPH_CALLS
) -> tuple[dict[str, Timing], dict[str, str]]:
    """Time replays of CUDA graphs of ``calls`` calls; times are per call.

    Returns:
        The times by name, and why the other programs cannot be captured.
    """
    replays: dict[str, Program] = {}
    reasons: dict[str, str] = {}
    for name, program in programs.items():
        try:
            replays[name] = in_graph(program, calls)
        except RuntimeError as error:
            reasons[name] = in_words(error)
    timings = {
        name: Timing(found.best / calls, found.median / calls, found.turns, found.calls)
        for name, found in time_in_turns(replays, gpu_turn, rounds).items()
    }
    return timings, reasons
