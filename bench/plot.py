"""Speeds as bars, against sequence length, and against how much lengths differ."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mbert.errors import InputError

from .programs import PEERS

if TYPE_CHECKING:  # it imports rich, which may be missing
    from .measurement import Measurement
    from .report import Report

SUFFIXES = (".png", ".svg", ".pdf")
_WIDTH = 0.8  # of the bars of one workload together
_HEIGHT = 4.5


def check_plot(path: Path) -> None:
    """Refuse early what could not be drawn at the end.

    Raises:
        InputError: a format that is not drawn.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"--plot is {path.name}; expected a name in {', '.join(SUFFIXES)}.")


def plot(report: Report, path: Path) -> None:
    """Draw real tokens per second of each program into ``path``.

    A bar for each workload; below, where there are two points or more: speed against length, of
    the workloads of one sequence, and the gain from packing against the spread of lengths, of the
    others.
    """
    # Without pyplot: no display, no global state.
    from matplotlib.figure import Figure

    single = [m for m in report.workloads if m.sequences == 1]
    several = [m for m in report.workloads if m.sequences > 1]
    below: list[tuple[Callable[..., None], list[Measurement]]] = []
    if len(single) > 1:
        below.append((_against_length, single))
    if len(several) > 1 and any(name in PEERS for name in report.programs):
        below.append((_against_spread, several))
    rows = 2 if below else 1
    bars = len(report.programs) * len(report.workloads)
    figure = Figure(figsize=(max(10.0, 0.25 * bars), _HEIGHT * rows), layout="constrained")
    grid = figure.add_gridspec(rows, max(1, len(below)))
    panels = [(grid[0, :], _bars, report.workloads)]
    panels += [(grid[1, i], draw, chosen) for i, (draw, chosen) in enumerate(below)]
    colours = {name: f"C{i}" for i, name in enumerate(report.programs)}
    for place, draw, measurements in panels:
        axes = figure.add_subplot(place)
        draw(axes, measurements, colours)
        axes.legend(frameon=False)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    figure.suptitle(
        f"{report.model['source']}, {report.threads} threads, {report.machine.processor}",
        x=0.01,
        ha="left",
    )
    figure.savefig(path, dpi=150)


def _bars(axes: Any, measurements: list[Measurement], colours: dict[str, str]) -> None:
    width = _WIDTH / len(colours)
    for i, (name, colour) in enumerate(colours.items()):
        left = (i - (len(colours) - 1) / 2) * width
        speeds = _speeds(measurements, name)
        bars = axes.bar(
            [position + left for position, _ in speeds],
            [speed for _, speed in speeds],
            width,
            label=name,
            color=colour,
        )
        axes.bar_label(bars, fmt="{:,.0f}", fontsize=8, rotation=90, padding=2)
    axes.set_xticks(range(len(measurements)), [m.workload for m in measurements])
    _label_speed(axes)


def _against_length(axes: Any, measurements: list[Measurement], colours: dict[str, str]) -> None:
    ordered = sorted(measurements, key=lambda m: m.tokens)
    for name, colour in colours.items():
        speeds = _speeds(ordered, name)
        lengths = [ordered[i].tokens for i, _ in speeds]
        axes.plot(lengths, [speed for _, speed in speeds], "o-", label=name, color=colour)
    axes.set_xscale("log", base=2)
    axes.set_xticks([m.tokens for m in ordered], [f"{m.tokens:,}" for m in ordered])
    axes.set_xlabel("tokens of one sequence")
    axes.set_ylim(bottom=0)
    _label_speed(axes)


def _against_spread(axes: Any, measurements: list[Measurement], colours: dict[str, str]) -> None:
    for name, colour in colours.items():
        ratios = [(m.spread, m.results[name].ratio) for m in measurements if name in m.results]
        if name in PEERS:
            axes.plot(
                [spread for spread, _ in ratios],
                [ratio.median for _, ratio in ratios if ratio is not None],
                "o",
                label=name,
                color=colour,
            )
    padding: dict[tuple[float, float], list[str]] = {}
    for m in measurements:
        padding.setdefault((m.spread, m.padded_tokens / m.tokens), []).append(m.workload)
    axes.plot(
        *zip(*padding, strict=True),
        "_",
        markersize=20,
        color="0.5",
        label="tokens with padding / real tokens",
    )
    for point, workloads in padding.items():
        axes.annotate(
            ", ".join(workloads),
            point,
            xytext=(14, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    axes.margins(x=0.15)
    axes.set_xlabel("standard deviation of the lengths / their mean")
    axes.set_ylabel("mbert is faster, times")
    axes.set_ylim(bottom=0)


def _speeds(measurements: list[Measurement], name: str) -> list[tuple[int, float]]:
    """Pair the index of each measurement that has a result of ``name`` with tokens per second."""
    return [
        (i, m.results[name].figures.tokens_per_second)
        for i, m in enumerate(measurements)
        if name in m.results
    ]


def _label_speed(axes: Any) -> None:
    axes.set_ylabel("real tokens per second")
    axes.yaxis.set_major_formatter("{x:,.0f}")
