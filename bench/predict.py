"""Predict the speed of the packed encoder on a GPU that is not here (``mbert-bench predict``)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mbert.errors import BackendError, InputError

from .random_checkpoint import SHAPES
from .roofline import (
    ELEMENT_SIZES,
    Assumptions,
    Cost,
    Operator,
    Shape,
    cost,
    embedding_operators,
    final_operators,
    layer_operators,
)
from .workloads import Workload

if TYPE_CHECKING:
    from rich.console import RenderableType

    from mbert.export.targets import Figures, Target

# Raised when a field changes its meaning or goes away.
FORMAT_VERSION = 1
MARK = "predicted, not measured"


@dataclass(frozen=True)
class Row:
    """All operators of one name in a workload, together."""

    name: str
    kernels: int
    flop: float
    bytes: float
    seconds: float
    bound: str


@dataclass(frozen=True)
class Prediction:
    """What a workload should take, as one packed batch; predicted, not measured.

    ``seconds`` holds within a CUDA graph. ``layer_seconds`` has one entry for each layer;
    ``tokens_per_second`` belongs to ``seconds``.
    """

    workload: str
    tokens: int
    seconds: float
    seconds_without_graph: float
    tokens_per_second: float
    kernels: int
    layer_seconds: list[float]
    operators: list[Row]


@dataclass(frozen=True)
class PredictionReport:
    """Every workload on one card."""

    source: str
    target: Target
    figures: Figures
    precision: str
    shape: Shape
    assumptions: Assumptions
    workloads: list[Prediction]

    def to_json(self) -> str:
        """Serialise, indented; times in seconds, sizes in bytes."""
        return json.dumps(
            {
                "format_version": FORMAT_VERSION,
                "kind": MARK,
                "source": self.source,
                "target": self.target.name,
                "compute_capability": self.target.compute_capability,
                "figures": asdict(self.figures),
                "precision": self.precision,
                "shape": asdict(self.shape),
                "assumptions": {
                    **asdict(self.assumptions),
                    "in_words": self.assumptions.in_words(),
                },
                "workloads": [asdict(workload) for workload in self.workloads],
            },
            indent=2,
        )


def predict(
    bundle: Path | None,
    shape: str,
    target_name: str,
    precision: str,
    workloads: Sequence[Workload],
) -> PredictionReport:
    """Predict the workloads on a card.

    Args:
        bundle: a bundle whose shape to take, not its target or precision; None: ``shape``.
        shape: a key of :data:`mbert.bench.random_checkpoint.SHAPES`.
        target_name: as for ``mbert-export --gpu``.
        precision: a key of :data:`mbert.bench.roofline.ELEMENT_SIZES`.
        workloads: what to predict.

    Raises:
        MbertError: no such card, or a precision that it lacks; no such bundle.
    """
    from mbert.export.targets import find_target  # imports torch with its package

    target = find_target(target_name)
    if target.figures is None:
        raise InputError(
            f"{target.name} is a compute capability, not a card: there is no memory bandwidth to "
            "predict with. Name a card (`mbert-export --list-gpus` prints them)."
        )
    if precision == "bf16" and not target.has_bfloat16:
        raise BackendError(
            f"{target.name} is of compute capability {target.compute_capability}; bf16 needs 8.0. "
            "Predict with --precision fp16."
        )
    if bundle is not None:
        # Imports tokenizers, which the machines that only run bench/gpu lack.
        from mbert.runtime.manifest_reader import read_manifest

        manifest = read_manifest(bundle)
        source = str(manifest.source.get("checkpoint"))
        model = Shape.of_manifest(manifest.model)
    else:
        source = shape
        model = Shape.of_config(SHAPES[source])
    assumptions = Assumptions()
    return PredictionReport(
        source,
        target,
        target.figures,
        precision,
        model,
        assumptions,
        [
            predict_lengths(
                workload.name, workload.lengths, model, target.figures, precision, assumptions
            )
            for workload in workloads
        ],
    )


def predict_lengths(
    name: str,
    lengths: Sequence[int],
    shape: Shape,
    card: Figures,
    precision: str,
    assumptions: Assumptions,
) -> Prediction:
    """Predict one packed batch; arguments as in :mod:`mbert.bench.roofline`."""
    tokens, size = sum(lengths), ELEMENT_SIZES[precision]

    def costs(operators: Sequence[Operator]) -> list[Cost]:
        return [cost(operator, card, precision, assumptions) for operator in operators]

    layers = [costs(layer_operators(shape, i, lengths, size)) for i in range(len(shape.windows))]
    ends = [
        costs(embedding_operators(shape, tokens, size)),
        costs(final_operators(shape, tokens, size)),
    ]
    everything = [*ends[0], *(one for layer in layers for one in layer), *ends[1]]
    seconds = sum(one.seconds for one in everything)
    return Prediction(
        workload=name,
        tokens=tokens,
        seconds=seconds,
        # The host launches ahead of the card until it is the slower of the two.
        seconds_without_graph=max(seconds, len(everything) * assumptions.launch_seconds),
        tokens_per_second=tokens / seconds,
        kernels=len(everything),
        layer_seconds=[sum(one.seconds for one in layer) for layer in layers],
        operators=_rows(everything),
    )


def _rows(costs: Sequence[Cost]) -> list[Row]:
    grouped: dict[str, list[Cost]] = {}
    for one in costs:
        grouped.setdefault(one.operator.name, []).append(one)
    return [
        Row(
            name,
            len(group),
            sum(one.operator.flop for one in group),
            sum(one.operator.bytes for one in group),
            sum(one.seconds for one in group),
            group[0].bound,  # the same for all: they differ in nothing but their layer
        )
        for name, group in grouped.items()
    ]


def tables(report: PredictionReport) -> Iterator[RenderableType]:
    """Draw a row for each workload, then for each workload a row for each operator."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    def drawn(title: str, columns: Sequence[str], caption: str | None = None) -> Table:
        table = Table(
            title=Text(f"{title} ({MARK})"),
            caption=None if caption is None else Text(caption),
            caption_justify="left",
            box=box.SIMPLE_HEAD,
            padding=(0, 1, 0, 0),
        )
        table.add_column(columns[0], no_wrap=True)
        for column in columns[1:]:
            table.add_column(column, justify="right")
        return table

    whole = drawn(
        f"{report.source} in {report.precision} on {report.target.name}",
        (
            "workload",
            "tokens",
            "ms",
            "tokens/s",
            "ms without CUDA graph",
            "kernels",
            *_layer_heads(report.shape),
        ),
        "\n".join(_notes(report)),
    )
    for workload in report.workloads:
        whole.add_row(
            workload.workload,
            f"{workload.tokens:,}",
            _milliseconds(workload.seconds),
            f"{workload.tokens_per_second:,.0f}",
            _milliseconds(workload.seconds_without_graph),
            f"{workload.kernels}",
            *(
                f"{1e6 * workload.layer_seconds[index]:,.1f}"
                for index in _layer_kinds(report.shape).values()
            ),
        )
    yield whole
    for workload in report.workloads:
        parts = drawn(
            workload.workload, ("operator", "kernels", "GFLOP", "MB", "ms", "part", "bound by")
        )
        for row in workload.operators:
            parts.add_row(
                row.name,
                f"{row.kernels}",
                f"{row.flop / 1e9:,.1f}",
                f"{row.bytes / 1e6:,.1f}",
                _milliseconds(row.seconds),
                f"{row.seconds / workload.seconds:.0%}",
                row.bound,
            )
        yield parts


def _layer_kinds(shape: Shape) -> dict[int, int]:
    """Map each window to a layer that has it: the last, since the first layer lacks a norm."""
    return {window: index for index, window in enumerate(shape.windows)}


def _layer_heads(shape: Shape) -> list[str]:
    return [
        "us, global layer" if window < 0 else f"us, layer of window {window}"
        for window in _layer_kinds(shape)
    ]


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:,.{3 if seconds < 0.01 else 1}f}"


def _notes(report: PredictionReport) -> Iterator[str]:
    card = report.figures
    peak = card.single_tflops if report.precision == "fp32" else card.half_tflops
    yield (
        f"{report.target.name}, by its data sheet: {peak:g} TFLOP/s in {report.precision}, "
        f"{card.bandwidth_gbs:g} GB/s. Assumed, not measured:"
    )
    for line in report.assumptions.in_words():
        yield f"- {line}"
