"""``mbert-bench``: measure a bundle beside the programs that it replaces."""

from __future__ import annotations

import importlib.util
import os
import tempfile
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from mbert.errors import BackendError, InputError, MbertError
from mbert.signals import unwind_on_signals

from .machine import this_machine
from .plot import check_plot, plot
from .process import WorkerProcess
from .programs import PEERS, choose_peers
from .random_checkpoint import SHAPES, places
from .roofline import ELEMENT_SIZES
from .workloads import WORKLOADS, choose

if TYPE_CHECKING:
    from rich.console import RenderableType

STDOUT = Path("-")
# Of the table where no terminal says how wide it is.
_FILE_WIDTH = 140
DEFAULT_PRECISION = "fp16"
# The options that mean something where nothing is measured.
_OF_PREDICTION = ("bundles", "shape", "target", "precision", "names", "json_path")

_HELP = """Measure BUNDLE: real tokens per second, latency and memory of each workload.

Exports of one model in different precisions can be measured together. Each program has a process of
its own and they run in turns, one at a time. Before anything is timed their outputs are compared:
programs that compute different things are an error, not a table.

With --predict nothing is measured: a roofline model says what each operator should cost on a GPU,
from the figures of its data sheet and assumptions that are printed.

\b
Workloads (* not by default: minutes each for a base-size model on two cores):
""" + "\n".join(
    f"  {w.name:8} {w.description}{'' if w.quick else ' *'}" for w in WORKLOADS.values()
)


@click.command(help=_HELP)
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
    help="Leave in this folder what is made: with --random checkpoint and bundle, and the models "
    "that peers need. The latter are taken from there when they are needed again.",
)
@click.option(
    "--against",
    "peers",
    metavar="NAMES",
    help=f"Programs to compare with, with commas between them, or all: {', '.join(PEERS)}. One "
    "whose libraries are missing is left out.",
)
@click.option(
    "--checkpoint",
    help="What BUNDLE was exported from, for --against: a folder, or a hub id (then the default).",
)
@click.option("--workloads", "names", metavar="NAMES", help="With commas between them, or all.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0),
    default=10.0,
    show_default=True,
    help="Time for each workload's turns, of all programs together; three rounds at least.",
)
@click.option("--threads", type=click.IntRange(min=1), help="Default: every core.")
@click.option(
    "--json",
    "json_path",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="Write everything as JSON; - for standard output (the table goes to standard error).",
)
@click.option(
    "--plot",
    "plot_path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Draw tokens per second (.png, .svg, .pdf).",
)
@click.option(
    "--predict",
    "target",
    metavar="GPU",
    help="Predict instead of measuring, for a GPU by name (l4, h100, ...); without BUNDLE or "
    "--random for the shape base.",
)
@click.option(
    "--precision",
    type=click.Choice(list(ELEMENT_SIZES)),
    default=DEFAULT_PRECISION,
    show_default=True,
    help="With --predict: what activations and weights are held in.",
)
def main(**options: Any) -> None:
    """Check the options, measure, print."""
    chosen = Options(**options)
    source_of = click.get_current_context().get_parameter_source
    chosen.check_usage([name for name in options if source_of(name) is ParameterSource.COMMANDLINE])
    unwind_on_signals()  # ends the processes and removes the scratch folder
    try:
        _check_folders(chosen)
        if chosen.target is not None:
            _predict(chosen, chosen.target)
            return
        with tempfile.TemporaryDirectory(prefix="mbert-bench-") as scratch:
            _bench(chosen, Path(scratch))
    except MbertError as error:
        raise click.ClickException(str(error)) from error


@dataclass(frozen=True)
class Options:
    """The command line; each field is described by its option above."""

    bundles: tuple[Path, ...]
    shape: str | None
    keep: Path | None
    peers: str | None
    checkpoint: str | None
    names: str | None
    seconds: float
    threads: int | None
    json_path: Path | None
    plot_path: Path | None
    target: str | None
    precision: str

    def check_usage(self, given: Collection[str]) -> None:
        """Refuse options that contradict each other; ``given`` names those that were typed."""
        if self.target is not None:
            self._check_prediction(given)
            return
        if "precision" in given:
            raise click.UsageError("--precision belongs to --predict; a bundle has its own.")
        if bool(self.bundles) == (self.shape is not None):
            raise click.UsageError("Give a BUNDLE or --random, one of the two.")
        if self.shape is not None and self.checkpoint is not None:
            raise click.UsageError("--random makes its own checkpoint; leave out --checkpoint.")
        if self.shape is None and self.peers is None and self.keep is not None:
            raise click.UsageError("--keep belongs to --random and --against.")

    def _check_prediction(self, given: Collection[str]) -> None:
        if len(self.bundles) + (self.shape is not None) > 1:
            raise click.UsageError("Give one BUNDLE or --random, not both.")
        others = [name for name in given if name not in _OF_PREDICTION]
        if others:
            options = click.get_current_context().command.params
            flags = [option.opts[0] for option in options if option.name in others]
            raise click.UsageError(f"--predict measures nothing; leave out {', '.join(flags)}.")


def _bench(options: Options, scratch: Path) -> None:
    # Everything that can be refused is refused before minutes are spent.
    workloads = choose(options.names)
    peers = choose_peers(options.peers)
    if options.plot_path is not None:
        _need("matplotlib", "--plot")
        check_plot(options.plot_path)
    from mbert.steps import Steps

    from .report import table
    from .session import compare_programs

    steps = Steps()
    machine = this_machine()  # before the export keeps it busy
    bundles, checkpoint = options.bundles, options.checkpoint
    if options.shape is not None:
        folder = options.keep or scratch / "made"
        made, bundle = places(options.shape, folder)
        bundles, checkpoint = (bundle,), str(made)
        with steps(f"export random weights of the shape {options.shape}"):
            _make_random(options.shape, folder, scratch)
    report = compare_programs(
        bundles,
        checkpoint,
        peers,
        workloads,
        machine=machine,
        threads=options.threads or machine.cores,
        seconds=options.seconds,
        scratch=scratch,
        kept=options.keep,
        progress=steps,
    )
    _show([table(report)], report.to_json(), options.json_path)
    if options.plot_path is not None:
        plot(report, options.plot_path)


def _predict(options: Options, target: str) -> None:
    from .predict import predict, tables

    report = predict(
        options.bundles[0] if options.bundles else None,
        options.shape,
        target,
        options.precision,
        choose(options.names or "all"),
    )
    _show(tables(report), report.to_json(), options.json_path)


def _check_folders(options: Options) -> None:
    """Refuse what would be refused after minutes."""
    _need("rich", "The table")
    for path in (options.json_path, options.plot_path):
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


def _make_random(shape: str, folder: Path, scratch: Path) -> None:
    """Make checkpoint and bundle in a process whose memory goes away before anything is timed."""
    folder.mkdir(parents=True, exist_ok=True)
    with WorkerProcess("export", scratch) as worker:
        worker.ask("make_random", shape=shape, folder=str(folder.resolve()))


def _need(module: str, what: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise BackendError(
            f"{what} needs the Python module {module!r}, which is missing. Install it with "
            "`pip install 'mbert[bench]'`."
        )
