"""Draw README's plot of speeds from a record of ``mbert-bench --json``, and print the tables.

Usage: python docs/plots.py [--tables]
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RECORD = Path(__file__).parents[1] / "bench" / "results" / "base-cpu-epyc-2-cores.json"
PLOT = Path(__file__).parent / "images" / "speed.svg"

# mbert's programs in the record, what they compute in, and their peers of the same precision.
PRECISIONS = {
    "mbert": ("float32", ("onnxruntime", "openvino")),
    "mbert-bf16": ("bfloat16", ("openvino-bf16",)),
    "mbert-int8": ("int8", ("onnxruntime-int8", "openvino-int8")),
}
WORKLOADS = {
    "W1-16": "1 sequence\nof 16 tokens",
    "W1-128": "1 sequence\nof 128 tokens",
    "W2": "32 sequences\nof 8 to 512,\nas one batch",
    "W2s": "32 sequences\nof 8 to 512,\nsorted by length",
    "W3": "8 sequences\nof 512 tokens",
    "W4-2048": "1 sequence\nof 2,048 tokens",
}
# Both are readable on white and on GitHub's dark background.
_TEXT = "#7d8590"
_COLOURS = ("#8b949e", "#3fa7d6", "#e3872d")


@dataclass(frozen=True)
class Ratio:
    """Speed of mbert over that of its faster peer: of the medians, and its range over rounds."""

    median: float
    low: float
    high: float


def ratios(record: dict[str, Any]) -> dict[str, dict[str, Ratio]]:
    """Return the ratio of each workload in each precision."""
    results = {entry["workload"]: entry["results"] for entry in record["workloads"]}
    return {
        workload: {
            precision: min(
                (Ratio(**results[workload][peer]["ratio"]) for peer in peers),
                key=lambda ratio: ratio.median,
            )
            for precision, peers in PRECISIONS.values()
        }
        for workload in WORKLOADS
    }


def table(record: dict[str, Any]) -> list[str]:
    """Return the rows of README's table."""
    rows = ["| workload | float32 | bfloat16 | int8 |", "|---|---|---|---|"]
    for workload, of_precision in ratios(record).items():
        name = WORKLOADS[workload].replace("\n", " ")
        cells = (f"{r.median:.2f} ({r.low:.2f}-{r.high:.2f})" for r in of_precision.values())
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return rows


def details(record: dict[str, Any], program: str) -> list[str]:
    """Return rows of the tables in cpu-performance.md: speeds, ratio, share, memory."""
    precision, peers = PRECISIONS[program]
    rows = []
    for entry in record["workloads"]:
        ours, ratio = entry["results"][program], ratios(record)[entry["workload"]][precision]
        speed, *others = (
            f"{entry['results'][name]['figures']['tokens_per_second']:,.0f}"
            for name in (program, *peers)
        )
        cells = [
            entry["workload"],
            f"{speed} ({ratio.median:.2f}, {ratio.low:.2f}-{ratio.high:.2f})",
            *others,
            # The share is of a float32 product.
            *([f"{ours['share']:.2f}"] if precision == "float32" else []),
            f"{ours['peak_bytes'] / 1e6:.0f} MB",
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def draw(record: dict[str, Any], path: Path) -> None:
    """Draw a bar for each workload and precision into ``path``, and its range as a line."""
    import matplotlib
    from matplotlib.figure import Figure

    # Text stays text: small, and the same file on every machine.
    settings = {"svg.fonttype": "none", "svg.hashsalt": "mbert", "font.family": "sans-serif"}
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(9.6, 3.6), layout="constrained")
        _bars(figure.add_subplot(), ratios(record))
        figure.savefig(path, transparent=True, metadata={"Date": None})


def _bars(axes: Any, found: dict[str, dict[str, Ratio]]) -> None:
    width = 0.27
    for i, (precision, _) in enumerate(PRECISIONS.values()):
        of_workload = [found[workload][precision] for workload in found]
        places = [place + (i - 1) * width for place in range(len(found))]
        heights = [ratio.median for ratio in of_workload]
        around = [
            [ratio.median - ratio.low for ratio in of_workload],
            [ratio.high - ratio.median for ratio in of_workload],
        ]
        axes.bar(places, heights, width * 0.92, label=precision, color=_COLOURS[i])
        axes.errorbar(places, heights, around, fmt="none", ecolor=_TEXT, elinewidth=1)
        for place, ratio in zip(places, of_workload, strict=True):
            top = max(ratio.high, ratio.median) + 0.06
            axes.text(place, top, f"{ratio.median:.1f}", ha="center", color=_TEXT, fontsize=9)
    axes.axhline(1, color=_TEXT, linewidth=1, linestyle="--")
    axes.set_xticks(range(len(found)), [WORKLOADS[workload] for workload in found])
    axes.set_ylabel("speed over the faster peer")
    axes.tick_params(colors=_TEXT, length=0)
    axes.yaxis.label.set_color(_TEXT)
    axes.legend(frameon=False, labelcolor=_TEXT, loc="upper right", ncols=3)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(_TEXT)


def main() -> None:
    """Draw the plot, or print the tables."""
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    if "--tables" in sys.argv[1:]:
        print("\n".join(table(record)))
        for program in PRECISIONS:
            print("\n".join(["", *details(record, program)]))
    else:
        draw(record, PLOT)


if __name__ == "__main__":
    main()
