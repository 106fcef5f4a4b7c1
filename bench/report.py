"""The measurements as a table and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from .machine import Machine
from .measurement import Measurement, Result
from .programs import PEERS
from .sgemm import Ceiling

# Raised when a field changes its meaning or goes away.
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Loaded:
    """A program as it was loaded.

    ``precision``: what it computes in; ``load_seconds``: from the files to ready; ``peak_bytes``:
    the largest resident size of its process from its start to its end, loading and the check of its
    outputs included.
    """

    precision: str
    versions: dict[str, str]
    load_seconds: float
    peak_bytes: int


@dataclass(frozen=True)
class Report:
    """Everything that was measured, and on what.

    ``model`` says what was run (task, source, shape; precision, target and version of the first
    bundle); ``sgemm`` is what shares are of, measured before and after the programs; ``skipped``
    has the reason for each workload that was asked for and not run, ``left_out`` for each peer.
    """

    machine: Machine
    model: dict[str, Any]
    threads: int
    programs: dict[str, Loaded]
    sgemm: Ceiling
    workloads: list[Measurement]
    skipped: dict[str, str]
    left_out: dict[str, str]

    def to_json(self) -> str:
        """Serialise, indented; times in seconds, sizes in bytes."""
        fields = asdict(self)
        fields["sgemm"]["best"] = self.sgemm.best
        return json.dumps({"format_version": FORMAT_VERSION, **fields}, indent=2)


def table(report: Report) -> Table:
    """Draw the table: a row for each program, workload by workload."""
    model = report.model
    drawn = Table(
        # As Text: a square bracket in a name is no markup.
        title=Text(f"{model['source']}: {model['task']}"),
        caption=Text("\n".join(_notes(report))),
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    drawn.add_column("workload", no_wrap=True)
    drawn.add_column("program", no_wrap=True)
    for heading in (
        "tokens computed",
        "real tokens/s",
        "median ms",
        "best ms",
        "p90 ms",
        "p99 ms",
        "peak MB",
        "share",
        "mbert is faster",
    ):
        drawn.add_column(heading, justify="right")
    for measurement in report.workloads:
        for i, (name, result) in enumerate(measurement.results.items()):
            drawn.add_row(
                measurement.workload if i == 0 else "",
                name,
                f"{measurement.padded_tokens if name in PEERS else measurement.tokens:,}",
                *_cells(result),
            )
        drawn.add_section()
    return drawn


def _cells(result: Result) -> Iterator[str]:
    figures = result.figures
    yield f"{figures.tokens_per_second:,.0f}"
    for seconds in (figures.median, figures.best, figures.p90, figures.p99):
        yield "" if seconds is None else f"{seconds * 1e3:,.{2 if seconds < 0.1 else 0}f}"
    yield f"{result.peak_bytes / 1e6:,.0f}{'' if result.peak_was_reset else '*'}"
    yield "" if result.share is None else f"{result.share:.2f}"
    ratio = result.ratio
    yield "" if ratio is None else f"{ratio.median:.2f}x ({ratio.low:.2f}-{ratio.high:.2f})"


def _notes(report: Report) -> Iterator[str]:
    machine = report.machine
    yield (
        f"{machine.processor} ({', '.join(machine.instructions)}), {report.threads} threads on "
        f"{machine.cores} cores, {machine.memory_bytes / 1e9:.0f} GB, {machine.system}, Python "
        f"{machine.python}"
    )
    for name, loaded in report.programs.items():
        versions = ", ".join(f"{part} {version}" for part, version in loaded.versions.items())
        yield (
            f"{name}: {loaded.precision}; {versions}; loaded in {loaded.load_seconds:.1f} s, at "
            f"most {loaded.peak_bytes / 1e6:,.0f} MB over its whole life"
        )
    rates = (
        f"{library} {' then '.join(f'{rate / 1e9:,.0f}' for rate in rates)}"
        for library, rates in report.sgemm.rates.items()
    )
    yield (
        f"share: of the best float32 product here, {report.sgemm.best / 1e9:,.0f} GFLOP/s (rows x "
        f"{report.sgemm.columns_in} x {report.sgemm.columns_out}; {', '.join(rates)})."
    )
    yield from _comparisons(report)
    yield from _agreements(report)
    for measurement in report.workloads:
        for name, reason in measurement.failures.items():
            yield f"{measurement.workload}: {name} has no figures: {reason}"
    for name, reason in report.left_out.items():
        yield f"{name} was left out: {reason}"
    results = [(m.workload, n, r) for m in report.workloads for n, r in m.results.items()]
    if not all(result.peak_was_reset for _, _, result in results):
        yield "*: the peak so far; this system does not let a process reset it."
    for workload, name, result in results:
        if not result.settled:
            yield f"{workload}: {name}'s threads kept spinning during the other's turns."
    if machine.busy:
        yield f"Other work was running: the load was {machine.load:.1f} before the first run."
    for workload, reason in report.skipped.items():
        yield f"{workload} was skipped: {reason}"


def _comparisons(report: Report) -> Iterator[str]:
    compared: dict[str, set[str]] = {}
    for measurement in report.workloads:
        for name, result in measurement.results.items():
            if result.compared_with is not None:
                compared.setdefault(result.compared_with, set()).add(name)
    for bundle, names in compared.items():
        yield f"Compared with {bundle}: {', '.join(n for n in report.programs if n in names)}."
    if compared:
        yield "In brackets: the least and the greatest ratio of a round."


def _agreements(report: Report) -> Iterator[str]:
    """For each program the workload on which it agrees least."""
    for name in report.programs:
        found = [
            (m.results[name].agreement, m.workload) for m in report.workloads if name in m.results
        ]
        agreed = [(agreement, workload) for agreement, workload in found if agreement is not None]
        if agreed:
            worst, workload = max(agreed, key=lambda pair: pair[0].max_abs_error)
            cosine = min(agreement.cosine for agreement, _ in agreed)
            yield (
                f"{name} agrees with {worst.reference} to {worst.max_abs_error:.1e} or better "
                f"(largest value {worst.largest_value:.3g}, {workload}), the cosine is at least "
                f"{cosine:.6f}."
            )
