"""Speeds as bars, against sequence length, and against how much lengths differ."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mbert.errors import InputError

from .programs import PEERS

if TYPE_CHECKING:  # it imports rich, which may be missing
    from .driver import Measurement
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

    A panel with a bar for each workload; where there are two workloads or more of the kind, one of
    speed against length, of those whose sequences are all of one length, and one of the gain from
    packing against the spread of lengths, of those with several sequences.
    """
    # Without pyplot: no display, no global state.
    from matplotlib.figure import Figure

    panels: list[tuple[Callable[..., None], list[Measurement], float]] = [
        (_bars, report.workloads, max(6.0, 0.4 * len(report.programs) * len(report.workloads)))
    ]
    of_one_length = [m for m in report.workloads if m.spread == 0]
    several = [m for m in report.workloads if m.sequences > 1]
    if len(of_one_length) > 1:
        panels.append((_against_length, of_one_length, 5.0))
    if len(several) > 1 and any(name in PEERS for name in report.programs):
        panels.append((_against_spread, several, 5.0))
    widths = [width for _, _, width in panels]
    figure = Figure(figsize=(sum(widths), _HEIGHT), layout="constrained")
    grid = figure.add_gridspec(1, len(panels), width_ratios=widths)
    colours = {name: f"C{i}" for i, name in enumerate(report.programs)}
    for i, (draw, measurements, _) in enumerate(panels):
        axes = figure.add_subplot(grid[i])
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
    ordered = sorted(measurements, key=lambda m: m.longest)
    for name, colour in colours.items():
        speeds = _speeds(ordered, name)
        lengths = [ordered[i].longest for i, _ in speeds]
        axes.plot(lengths, [speed for _, speed in speeds], "o-", label=name, color=colour)
    axes.set_xscale("log", base=2)
    ticks = [m.longest for m in ordered]
    axes.set_xticks(
        ticks, [_times(m.sequences, m.longest) for m in ordered], rotation=30, ha="right"
    )
    axes.set_xlabel("sequences x tokens of each")
    axes.set_ylim(bottom=0)
    _label_speed(axes)


def _against_spread(axes: Any, measurements: list[Measurement], colours: dict[str, str]) -> None:
    ordered = sorted(measurements, key=lambda m: m.spread)
    for name, colour in colours.items():
        if name not in PEERS:
            continue
        ratios = [(m.spread, m.results[name].ratio) for m in ordered if name in m.results]
        axes.plot(
            [spread for spread, _ in ratios],
            [ratio.median for _, ratio in ratios if ratio is not None],
            "o",
            label=name,
            color=colour,
        )
    axes.plot(
        [m.spread for m in ordered],
        [m.padded_tokens / m.tokens for m in ordered],
        "_",
        markersize=20,
        color="0.5",
        label="tokens with padding / real tokens",
    )
    for m in ordered:
        axes.annotate(
            m.workload, (m.spread, 0), xytext=(0, 4), textcoords="offset points", fontsize=8
        )
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


def _times(sequences: int, tokens: int) -> str:
    return f"{sequences} x {tokens:,}" if sequences > 1 else f"{tokens:,}"
