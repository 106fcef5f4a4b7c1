"""The measurements as a table and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from .driver import Measurement, Result
from .machine import Machine
from .programs import MBERT

# Raised when a field changes its meaning or goes away.
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Loaded:
    """A program as it was loaded.

    ``load_seconds``: from the files to ready; ``peak_bytes``: the largest resident size of its
    process from its start to its end, loading and the check of its outputs included.
    """

    versions: dict[str, str]
    load_seconds: float
    peak_bytes: int


@dataclass(frozen=True)
class Report:
    """Everything that was measured, and on what.

    ``model`` says what was run (task, precision, target, source, shape); ``skipped`` has the reason
    for each workload that was asked for and not run.
    """

    machine: Machine
    model: dict[str, Any]
    threads: int
    programs: dict[str, Loaded]
    workloads: list[Measurement]
    skipped: dict[str, str]

    def to_json(self) -> str:
        """Serialise, indented; times in seconds, sizes in bytes."""
        return json.dumps({"format_version": FORMAT_VERSION, **asdict(self)}, indent=2)


def table(report: Report) -> Table:
    """Draw the table: a row for each program, workload by workload."""
    model = report.model
    drawn = Table(
        # As Text: a square bracket in a name is no markup.
        title=Text(f"{model['source']}: {model['task']}, {model['precision']}"),
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
        "mbert is faster",
    ):
        drawn.add_column(heading, justify="right")
    for measurement in report.workloads:
        for i, (name, result) in enumerate(measurement.results.items()):
            drawn.add_row(
                measurement.workload if i == 0 else "",
                name,
                f"{measurement.tokens if name == MBERT else measurement.padded_tokens:,}",
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
    ratio = result.ratio
    yield "" if ratio is None else f"{ratio.median:.2f}x ({ratio.low:.2f}-{ratio.high:.2f})"


def _notes(report: Report) -> Iterator[str]:
    machine = report.machine
    yield (
        f"{machine.processor}, {report.threads} threads on {machine.cores} cores, "
        f"{machine.memory_bytes / 1e9:.0f} GB, {machine.system}, Python {machine.python}"
    )
    for name, loaded in report.programs.items():
        versions = ", ".join(f"{part} {version}" for part, version in loaded.versions.items())
        yield (
            f"{name}: {versions}; loaded in {loaded.load_seconds:.1f} s, at most "
            f"{loaded.peak_bytes / 1e6:,.0f} MB over its whole life"
        )
    yield "In brackets: the least and the greatest ratio of a round."
    for name, measurement in _with_peers(report):
        agreement = measurement.results[name].agreement
        assert agreement is not None
        yield (
            f"{measurement.workload}: {name} agrees to {agreement.max_abs_error:.1e} "
            f"(largest value {agreement.largest_value:.3g})"
        )
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


def _with_peers(report: Report) -> Iterator[tuple[str, Measurement]]:
    for measurement in report.workloads:
        for name in measurement.results:
            if name != MBERT:
                yield name, measurement
