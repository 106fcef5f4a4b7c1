"""Measuring: check that the programs agree, then let them run in turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mbert.runtime.packing import Int32Array

from .agreement import Agreement, Outputs, compare
from .figures import Figures, Ratio, figures, ratio
from .process import WorkerProcess
from .programs import MBERT
from .workloads import Workload, batches, padded_tokens

ROUNDS = 3


@dataclass(frozen=True)
class Result:
    """One program on one workload.

    ``peak_bytes`` is the largest resident size of its process; while this workload ran if
    ``peak_was_reset``, else since the process began. ``settled``: its threads slept during the
    other programs' turns. ``turns``: seconds of each call, for each round. ``agreement`` and
    ``ratio`` compare with mbert; None for mbert itself.
    """

    figures: Figures
    peak_bytes: int
    peak_was_reset: bool
    settled: bool
    turns: list[list[float]]
    agreement: Agreement | None = None
    ratio: Ratio | None = None


@dataclass(frozen=True)
class Measurement:
    """A workload and what each program made of it.

    ``tokens`` are real ones; ``padded_tokens`` is what a program that pads computes in their place.
    """

    workload: str
    description: str
    sequences: int
    tokens: int
    padded_tokens: int
    results: dict[str, Result]


def measure(
    workers: Mapping[str, WorkerProcess],
    workload: Workload,
    sequences: Sequence[Int32Array],
    scratch: Path,
    seconds: float,
) -> Measurement:
    """Measure a workload.

    Args:
        workers: by program, each with its program loaded; mbert's is the one compared with.
        workload: says how the peers pad.
        sequences: int32 [length] each.
        scratch: a folder for the programs' outputs.
        seconds: time to spend on timed turns; at least :data:`ROUNDS` rounds are made.

    Raises:
        BenchError: a program died, or does not compute what mbert does.
    """
    lengths = [len(ids) for ids in sequences]
    groups = batches(lengths, workload.peer_batch, workload.peer_sorted)
    listed = [ids.tolist() for ids in sequences]
    for worker in workers.values():
        worker.ask("prepare", sequences=listed, groups=groups)
    agreements = _agreements(workers, workload.name, scratch)
    for worker in workers.values():
        worker.ask("turn")  # the second run of a shape is the first with warm allocators
    was_reset = {name: worker.ask("reset_peak")["reset"] for name, worker in workers.items()}

    peaks = dict.fromkeys(workers, 0)
    settled = dict.fromkeys(workers, True)

    def turn(name: str) -> list[float]:
        reply = workers[name].ask("turn")
        peaks[name] = max(peaks[name], reply["peak_bytes"])
        settled[name] = settled[name] and reply["settled"]
        calls: list[float] = reply["seconds"]
        return calls

    turns = interleave(list(workers), turn, seconds)
    tokens = sum(lengths)
    results = {}
    for name, rounds in turns.items():
        results[name] = Result(
            figures=figures([call for calls in rounds for call in calls], tokens),
            peak_bytes=peaks[name],
            peak_was_reset=was_reset[name],
            settled=settled[name],
            turns=rounds,
            agreement=agreements.get(name),
            ratio=None if name == MBERT else ratio(turns[MBERT], rounds),
        )
    return Measurement(
        workload=workload.name,
        description=workload.description,
        sequences=len(lengths),
        tokens=tokens,
        padded_tokens=padded_tokens(lengths, groups),
        results=results,
    )


def interleave(
    names: Sequence[str],
    turn: Callable[[str], list[float]],
    seconds: float,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[list[float]]]:
    """Give each program a turn in every round, the order reversed from round to round.

    What else goes on on the machine then hits all of them alike.

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


def _agreements(
    workers: Mapping[str, WorkerProcess], workload: str, scratch: Path
) -> dict[str, Agreement]:
    outputs = {}
    for name, worker in workers.items():
        path = scratch / f"{name}.float32"
        shapes = worker.ask("write_outputs", path=str(path))["shapes"]
        outputs[name] = Outputs(name, path, shapes)
    ours = outputs.pop(MBERT)
    agreements = {name: compare(ours, theirs, workload) for name, theirs in outputs.items()}
    for output in (ours, *outputs.values()):
        output.path.unlink()  # hundreds of megabytes for the largest workloads
    return agreements
