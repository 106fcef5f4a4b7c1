"""Measure one workload: check that the programs agree, then time them in turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mbert.runtime.packing import Int32Array

from .agreement import Agreement
from .comparison import Comparison
from .figures import Figures, Ratio, figures, ratio
from .program_process import ProgramProcess, ProgramSpec
from .roofline import Shape, forward_flop
from .workloads import Workload, batches, padded_tokens

ROUNDS = 3


@dataclass(frozen=True)
class Result:
    """The result of one program on one workload.

    ``peak_bytes`` is the largest resident size of its process; while this workload ran if
    ``peak_was_reset``, else since the process began. ``settled``: its threads slept during the
    other programs' turns. ``turns``: seconds of each call, for each round. ``agreement`` is with
    the program that all others are checked against; None for that one itself. ``ratio`` is how
    many times faster the bundle ``compared_with`` is; None for the first bundle. ``share`` is that
    of the best sgemm, see :mod:`mbert.bench.sgemm`; None before that is known.
    """

    figures: Figures
    peak_bytes: int
    peak_was_reset: bool
    settled: bool
    turns: list[list[float]]
    agreement: Agreement | None = None
    compared_with: str | None = None
    ratio: Ratio | None = None
    share: float | None = None


@dataclass(frozen=True)
class Measurement:
    """A workload and the result of each program.

    ``tokens`` are real ones; ``padded_tokens`` is what a program that pads computes in their place.
    ``spread`` is the standard deviation of the lengths over their mean, ``flop`` what
    :func:`mbert.bench.roofline.forward_flop` counts. ``failures`` has the reason for each peer
    without a result.
    """

    workload: str
    description: str
    sequences: int
    tokens: int
    padded_tokens: int
    spread: float
    flop: float
    results: dict[str, Result]
    failures: dict[str, str]


def measure(
    programs: Sequence[ProgramProcess],
    shape: Shape,
    workload: Workload,
    sequences: Sequence[Int32Array],
    scratch: Path,
    seconds: float,
) -> Measurement:
    """Measure a workload.

    Args:
        programs: the programs, bundles first.
        shape: of the model that they all compute.
        workload: says how the peers pad.
        sequences: int32 [length] each.
        scratch: a folder for the programs' outputs.
        seconds: time to spend on timed turns; at least :data:`ROUNDS` rounds are made.

    Raises:
        MbertError: a bundle fails.
        BenchError: the bundles do not compute the same, or a peer in float32 does not. Whatever
            else goes wrong with a peer is noted, and the others go on.
    """
    lengths = [len(ids) for ids in sequences]
    groups = batches(lengths, workload.peer_batch, workload.peer_sorted)
    comparison = Comparison(programs)
    comparison.leave_out_too_large(
        shape.num_attention_heads, [[lengths[i] for i in group] for group in groups]
    )
    comparison.load()
    comparison.ask("prepare", sequences=[ids.tolist() for ids in sequences], groups=groups)
    agreements = comparison.agreements(workload.name, scratch)
    comparison.ask("turn")  # the second run of a shape is the first with warm allocators
    was_reset = {name: reply["reset"] for name, reply in comparison.ask("reset_peak").items()}

    names = comparison.names
    peaks = dict.fromkeys(names, 0)
    settled = dict.fromkeys(names, True)

    def turn(name: str) -> list[float]:
        reply = comparison.ask_one(name, "turn")
        if reply is None:
            return []
        peaks[name] = max(peaks[name], reply["peak_bytes"])
        settled[name] = settled[name] and reply["settled"]
        calls: list[float] = reply["seconds"]
        return calls

    turns = interleave(names, turn, seconds)
    tokens = sum(lengths)
    counterparts = _counterparts([program.spec for program in programs])
    results = {}
    for name in comparison.names:
        counterpart = counterparts[name]
        results[name] = Result(
            figures=figures([call for calls in turns[name] for call in calls], tokens),
            peak_bytes=peaks[name],
            peak_was_reset=was_reset[name],
            settled=settled[name],
            turns=turns[name],
            agreement=agreements.get(name),
            compared_with=counterpart,
            ratio=None if counterpart is None else ratio(turns[counterpart], turns[name]),
        )
    return Measurement(
        workload=workload.name,
        description=workload.description,
        sequences=len(lengths),
        tokens=tokens,
        padded_tokens=padded_tokens(lengths, groups),
        spread=float(np.std(lengths) / np.mean(lengths)),
        flop=forward_flop(shape, lengths),
        results=results,
        failures=comparison.failures,
    )


def interleave(
    names: Sequence[str],
    turn: Callable[[str], list[float]],
    seconds: float,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[list[float]]]:
    """Give each program a turn in every round, the order reversed from round to round.

    Other load on the machine then slows all of them alike.

    Args:
        names: the programs.
        turn: runs one of them and returns the seconds of its calls.
        seconds: rounds begin until this time has passed; at least :data:`ROUNDS` of them.
        clock: returns seconds.

    Returns:
        For each program the calls of each round.
    """
    turns: dict[str, list[list[float]]] = {name: [] for name in names}
    order = list(names)
    start = clock()
    rounds = 0
    while rounds < ROUNDS or clock() - start < seconds:
        for name in order:
            turns[name].append(turn(name))
        order.reverse()
        rounds += 1
    return turns


def _counterparts(specs: Sequence[ProgramSpec]) -> dict[str, str | None]:
    """Map each program to the bundle that its ratio is relative to.

    A peer's is the first bundle of its precision, else the first of all; so is another bundle's.
    """
    bundles = [spec for spec in specs if spec.ours]
    first = bundles[0]
    counterparts: dict[str, str | None] = {}
    for spec in specs:
        alike = [bundle for bundle in bundles if bundle.precision == spec.precision]
        counterpart = first if spec.ours or not alike else alike[0]
        counterparts[spec.name] = None if spec is first else counterpart.name
    return counterparts
