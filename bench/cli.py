"""``mbert-bench``: measure a bundle beside the programs that it replaces, or predict on a GPU."""

from __future__ import annotations

import importlib.util
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mbert.errors import BackendError, InputError, MbertError
from mbert.signals import unwind_on_signals

from .machine import this_machine
from .plot import check_plot, plot
from .programs import PEERS, choose_peers
from .random_checkpoint import SHAPES, places
from .roofline import ELEMENT_SIZES
from .worker_process import WorkerProcess
from .workloads import WORKLOADS, choose

if TYPE_CHECKING:
    from rich.console import RenderableType

    from mbert.steps import Steps

STDOUT = Path("-")
# Of the table where no terminal says how wide it is.
_FILE_WIDTH = 140
DEFAULT_PRECISION = "fp16"
DEFAULT_SHAPE = "base"

_WORKLOADS = "\n".join(
    f"  {w.name:8} {w.description}{'' if w.quick else ' *'}" for w in WORKLOADS.values()
)
_RUN_HELP = f"""Measure BUNDLE: real tokens per second, latency and memory of each workload.

Exports of one model in different precisions can be measured together. Each program has a process of
its own and they run in turns, one at a time. Before anything is timed their outputs are compared:
programs that compute different things are an error, not a table.

\b
Workloads (* not by default: minutes each for a base-size model on two cores):
{_WORKLOADS}
"""

_names = click.option("--workloads", "names", metavar="NAMES", help="Comma-separated, or all.")
_json = click.option(
    "--json",
    "json_path",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="Write everything as JSON; - for standard output (the table goes to standard error).",
)


@click.group()
def main() -> None:
    """Measure bundles on this CPU, or predict their speed on a GPU."""


@main.command(help=_RUN_HELP)
@click.argument("bundles", nargs=-1, metavar="[BUNDLE]...", type=click.Path(path_type=Path))
@click.option(
    "--random",
    "shape",
    type=click.Choice(list(SHAPES)),
    help="In place of BUNDLE: export random weights of this shape and measure those.",
)
@click.option(
    "--keep",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep in this folder what is made: checkpoint and bundle of --random, and the models that "
    "peers need. A later run takes the latter from there.",
)
@click.option(
    "--against",
    "peers",
    metavar="NAMES",
    help=f"Programs to compare with, comma-separated, or all: {', '.join(PEERS)}. One whose "
    "libraries are missing is left out.",
)
@click.option(
    "--checkpoint",
    help="What BUNDLE was exported from, for --against: a folder, or a hub id (then the default).",
)
@_names
@click.option(
    "--seconds",
    type=click.FloatRange(min=0),
    default=10.0,
    show_default=True,
    help="Time for each workload's turns, of all programs together; three rounds at least.",
)
@click.option("--threads", type=click.IntRange(min=1), help="Default: every core.")
@_json
@click.option(
    "--plot",
    "plot_path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Draw tokens per second (.png, .svg, .pdf).",
)
def run(
    bundles: tuple[Path, ...],
    shape: str | None,
    keep: Path | None,
    peers: str | None,
    checkpoint: str | None,
    names: str | None,
    seconds: float,
    threads: int | None,
    json_path: Path | None,
    plot_path: Path | None,
) -> None:
    """Check the options, measure, print."""
    if bool(bundles) == (shape is not None):
        raise click.UsageError("Give a BUNDLE or --random, one of the two.")
    if shape is not None and checkpoint is not None:
        raise click.UsageError("--random makes its own checkpoint; leave out --checkpoint.")
    if shape is None and peers is None and keep is not None:
        raise click.UsageError("--keep belongs to --random and --against.")
    with _errors_shown(), tempfile.TemporaryDirectory(prefix="mbert-bench-") as folder:
        # Everything that can be refused is refused before minutes are spent.
        _check_output(json_path, plot_path)
        workloads, chosen_peers = choose(names), choose_peers(peers)
        from mbert.steps import Steps

        from .benchmark import run_benchmark
        from .report import table

        steps, scratch = Steps(), Path(folder)
        machine = this_machine()  # before the export keeps it busy
        if shape is not None:
            made = keep or scratch / "made"
            bundles, checkpoint = _make_random(shape, made, scratch, steps)
        report = run_benchmark(
            bundles,
            checkpoint,
            chosen_peers,
            workloads,
            machine=machine,
            threads=threads or machine.cores,
            seconds=seconds,
            scratch=scratch,
            kept=keep,
            progress=steps,
        )
        _show([table(report)], report.to_json(), json_path)
        if plot_path is not None:
            plot(report, plot_path)


@main.command()
@click.argument("gpu")
@click.option("--bundle", type=click.Path(path_type=Path), help="Take the shape of this bundle.")
@click.option(
    "--shape",
    type=click.Choice(list(SHAPES)),
    help=f"Or a published shape. Default: {DEFAULT_SHAPE}.",
)
@click.option(
    "--precision",
    type=click.Choice(list(ELEMENT_SIZES)),
    default=DEFAULT_PRECISION,
    show_default=True,
    help="What activations and weights are held in.",
)
@_names
@_json
def predict(
    gpu: str,
    bundle: Path | None,
    shape: str | None,
    precision: str,
    names: str | None,
    json_path: Path | None,
) -> None:
    """Predict what each operator costs on GPU (l4, h100, ...); nothing is measured.

    A roofline model computes it from the figures of the GPU's data sheet and from assumptions that
    are printed.
    """
    if bundle is not None and shape is not None:
        raise click.UsageError("Give --bundle or --shape, not both.")
    with _errors_shown():
        _check_output(json_path)
        from .predict import predict as predict_workloads
        from .predict import tables

        workloads = choose(names or "all")
        report = predict_workloads(bundle, shape or DEFAULT_SHAPE, gpu, precision, workloads)
        _show(tables(report), report.to_json(), json_path)


@contextmanager
def _errors_shown() -> Iterator[None]:
    """Show mbert's errors as messages, and let termination requests unwind."""
    unwind_on_signals()  # ends the processes and removes the scratch folder
    try:
        yield
    except MbertError as error:
        raise click.ClickException(str(error)) from error


def _check_output(json_path: Path | None, plot_path: Path | None = None) -> None:
    """Refuse early what could not be written at the end."""
    _need("rich", "The table")
    if plot_path is not None:
        _need("matplotlib", "--plot")
        check_plot(plot_path)
    for path in (json_path, plot_path):
        if path is not None and not os.access(path.absolute().parent, os.W_OK):
            raise InputError(
                f"{path.absolute().parent} is no folder that can be written. Make it first, or "
                "choose another one."
            )


def _show(tables: Iterable[RenderableType], report: str, json_path: Path | None) -> None:
    """Print the tables and write the report, a JSON text."""
    from rich.console import Console

    to_stdout = json_path == STDOUT
    console = Console(stderr=to_stdout)
    if not console.is_terminal:
        console.width = _FILE_WIDTH
    for table in tables:
        console.print(table)
    if to_stdout:
        click.echo(report)
    elif json_path is not None:
        json_path.write_text(report + "\n", encoding="utf-8")


def _make_random(shape: str, folder: Path, scratch: Path, steps: Steps) -> tuple[tuple[Path], str]:
    """Make checkpoint and bundle in a process that frees its memory before anything is timed."""
    checkpoint, bundle = places(shape, folder)
    with steps(f"export random weights of the shape {shape}"):
        folder.mkdir(parents=True, exist_ok=True)
        with WorkerProcess("export", scratch) as worker:
            worker.ask("make_random", shape=shape, folder=str(folder.resolve()))
    return (bundle,), str(checkpoint)


def _need(module: str, what: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise BackendError(
            f"{what} needs the Python module {module!r}, which is missing. Install it with "
            "`pip install 'mbert[bench]'`."
        )
