"""``mbert-export``: run an export, or print its plan."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mbert.errors import MbertError
from mbert.runtime.inspection import summary
from mbert.runtime.manifest import BACKENDS, HARDWARE_COMPATIBILITY, PRECISIONS, Manifest
from mbert.signals import unwind_on_signals
from mbert.steps import Steps

from .checkpoint import DEFAULT_CHECKPOINT
from .pipeline import convert, plan_export
from .plan import ExportPlan
from .targets import TARGETS
from .tasks import TASKS


@click.command()
@click.argument("checkpoint", default=DEFAULT_CHECKPOINT)
@click.option("--cpu", is_flag=True, help="Target: any CPU of this kind (the default).")
@click.option("--gpu", metavar="NAME", help="Target: a GPU, such as l4, or sm_XX.")
@click.option(
    "--list-gpus",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=lambda context, _, requested: _list_gpus(context) if requested else None,
    help="Print the GPUs that have names, and exit.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="The bundle folder to write; required without --dry-run.",
)
@click.option(
    "--backend",
    type=click.Choice(["auto", *BACKENDS]),
    default="auto",
    help="Default: what is installed and knows the target.",
)
@click.option(
    "--precision",
    type=click.Choice(["auto", *PRECISIONS]),
    default="auto",
    help="Default: fp32 on a CPU (bf16, int8: faster); on a GPU fp16, or bf16 if fp16 overflows.",
)
@click.option(
    "--hardware-compatibility",
    type=click.Choice(HARDWARE_COMPATIBILITY),
    default="none",
    help="Which other GPUs TensorRT's engine is for. Default: none, the fastest.",
)
@click.option("--max-tokens", type=click.IntRange(1), help="Of one call, all sequences together.")
@click.option("--max-sequence-length", type=click.IntRange(1), help="Default: the checkpoint's.")
@click.option(
    "--calibration",
    type=click.Path(path_type=Path),
    help="Text, one a line: fp16 and int8 are calibrated on it. Default: a built-in sample.",
)
@click.option("--task", type=click.Choice(list(TASKS)), help="Default: the checkpoint's own.")
@click.option("--revision", help="Branch, tag or commit of a hub id.")
@click.option("--force", is_flag=True, help="Replace an existing bundle.")
@click.option("--dry-run", is_flag=True, help="Print the plan of the export, and write nothing.")
@click.option("--quiet", is_flag=True, help="Print errors only.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print manifest and times (the plan, with --dry-run) as JSON.",
)
def main(
    checkpoint: str,
    cpu: bool,
    gpu: str | None,
    output: Path | None,
    backend: str,
    precision: str,
    hardware_compatibility: str,
    max_tokens: int | None,
    max_sequence_length: int | None,
    calibration: Path | None,
    task: str | None,
    revision: str | None,
    force: bool,
    dry_run: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Export CHECKPOINT (a folder or a Hugging Face hub id) to a verified bundle."""
    if cpu and gpu is not None:
        raise click.UsageError("--cpu and --gpu are two targets. Name one.")
    if output is None and not dry_run:
        raise click.UsageError("Missing option '-o' / '--output'.")
    options: dict[str, Any] = {
        "gpu": gpu,
        "backend": backend,
        "precision": precision,
        "hardware_compatibility": hardware_compatibility,
        "task": task,
        "max_tokens": max_tokens,
        "max_sequence_length": max_sequence_length,
        "calibration": calibration,
        "revision": revision,
    }
    unwind_on_signals()
    try:
        if output is None or dry_run:
            _print_plan(plan_export(checkpoint, **options), as_json)
        else:
            _export(checkpoint, output, options, force=force, quiet=quiet, as_json=as_json)
    except MbertError as error:
        raise click.ClickException(str(error)) from error


def _export(
    checkpoint: str,
    output: Path,
    options: dict[str, Any],
    *,
    force: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    steps = Steps(quiet)  # prints to standard error, so that --json can be piped
    manifest = convert(
        checkpoint,
        output,
        force=force,
        progress=steps,
        tell=steps.say,
        advance=steps.advance,
        **options,
    )
    if as_json:
        click.echo(json.dumps({"manifest": asdict(manifest), "seconds": steps.seconds}))
    elif not quiet:
        Console().print(_table(manifest, output, sum(steps.seconds.values())))


def _print_plan(plan: ExportPlan, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(plan.to_dict()))
        return
    table = Table(show_header=False)
    for name, value in plan.describe():
        table.add_row(name, Text(value))
    Console().print(table)


def _table(manifest: Manifest, output: Path, seconds: float) -> Table:
    table = Table(show_header=False, title=Text(str(output)))
    for row in (*summary(manifest), ("time", f"{seconds:.1f} s")):
        table.add_row(*row)
    return table


def _list_gpus(context: click.Context) -> None:
    table = Table("--gpu", "compute capability", "memory", "bandwidth", "float16, dense")
    for target in TARGETS.values():
        figures = target.figures
        assert figures is not None
        table.add_row(
            target.name,
            target.compute_capability,
            f"{figures.memory_gb:g} GB",
            f"{figures.bandwidth_gbs:g} GB/s",
            f"{figures.half_tflops:g} TFLOP/s",
        )
    Console().print(table)
    context.exit()
