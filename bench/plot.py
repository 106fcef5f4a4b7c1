"""Tokens per second as a bar chart."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mbert.errors import InputError

if TYPE_CHECKING:  # it imports rich, which may be missing
    from .report import Report

SUFFIXES = (".png", ".svg", ".pdf")
_WIDTH = 0.8  # of the bars of one workload together


def check_plot(path: Path) -> None:
    """Refuse early what could not be drawn at the end.

    Raises:
        InputError: a format that is not drawn.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"--plot is {path.name}; expected a name in {', '.join(SUFFIXES)}.")


def plot(report: Report, path: Path) -> None:
    """Draw real tokens per second of each program, workload by workload, into ``path``."""
    # Without pyplot: no display, no global state.
    from matplotlib.figure import Figure

    programs = list(report.programs)
    measured = report.workloads
    figure = Figure(figsize=(max(6.0, 1.6 * len(measured)), 4.5), layout="constrained")
    axes = figure.add_subplot()
    width = _WIDTH / len(programs)
    for i, name in enumerate(programs):
        left = (i - (len(programs) - 1) / 2) * width
        bars = axes.bar(
            [position + left for position in range(len(measured))],
            [m.results[name].figures.tokens_per_second for m in measured],
            width,
            label=name,
        )
        axes.bar_label(bars, fmt="{:,.0f}", fontsize=8)
    axes.set_xticks(range(len(measured)), [m.workload for m in measured])
    axes.set_ylabel("real tokens per second")
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.set_title(f"{report.model['source']}, {report.threads} threads", loc="left")
    axes.text(0, -0.12, report.machine.processor, transform=axes.transAxes, fontsize=8, color="0.4")
    axes.legend(frameon=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(path, dpi=150)
