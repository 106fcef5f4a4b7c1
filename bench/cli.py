"""``mbert-bench``: measure a bundle beside the programs that it replaces."""

from __future__ import annotations

import importlib.util
import os
import signal
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from mbert.errors import BackendError, InputError, MbertError

from .machine import this_machine
from .plot import check_plot, plot
from .process import WorkerProcess
from .programs import PEERS
from .random_checkpoint import SHAPES, places
from .workloads import WORKLOADS, choose

STDOUT = Path("-")
# Of the table where no terminal says how wide it is.
_FILE_WIDTH = 120

_HELP = """Measure BUNDLE: real tokens per second, latency and memory of each workload.

Each program has a process of its own and they run in turns, one at a time. Before anything is timed
their outputs are compared: programs that compute different things are an error, not a table.

\b
Workloads (* not by default: minutes each for a base-size model on two cores):
""" + "\n".join(
    f"  {w.name:8} {w.description}{'' if w.quick else ' *'}" for w in WORKLOADS.values()
)


@click.command(help=_HELP)
@click.argument("bundle", required=False, type=click.Path(path_type=Path))
@click.option(
    "--random",
    "shape",
    type=click.Choice(list(SHAPES)),
    help="In place of BUNDLE: export random weights of this shape and measure those.",
)
@click.option(
    "--keep",
    type=click.Path(path_type=Path, file_okay=False),
    help="With --random: leave checkpoint and bundle in this folder.",
)
@click.option(
    "--against", "peers", type=click.Choice(PEERS), multiple=True, help="A program to compare with."
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
def main(**options: Any) -> None:
    """Check the options, measure, print."""
    chosen = Options(**options)
    chosen.check_usage()
    # A termination request unwinds like Ctrl-C does: the processes end, the scratch folder goes.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with tempfile.TemporaryDirectory(prefix="mbert-bench-") as scratch:
            _bench(chosen, Path(scratch))
    except MbertError as error:
        raise click.ClickException(str(error)) from error


@dataclass(frozen=True)
class Options:
    """The command line; each field is described by its option above."""

    bundle: Path | None
    shape: str | None
    keep: Path | None
    peers: tuple[str, ...]
    checkpoint: str | None
    names: str | None
    seconds: float
    threads: int | None
    json_path: Path | None
    plot_path: Path | None

    def check_usage(self) -> None:
        """Refuse options that contradict each other."""
        if (self.bundle is None) == (self.shape is None):
            raise click.UsageError("Give a BUNDLE or --random, one of the two.")
        if self.shape is not None and self.checkpoint is not None:
            raise click.UsageError("--random makes its own checkpoint; leave out --checkpoint.")
        if self.shape is None and self.keep is not None:
            raise click.UsageError("--keep belongs to --random.")


def _bench(options: Options, scratch: Path) -> None:
    # Everything that can be refused is refused before minutes are spent.
    workloads = choose(options.names)
    _need("rich", "The table")
    for path in (options.json_path, options.plot_path):
        if path is not None and not os.access(path.absolute().parent, os.W_OK):
            raise InputError(
                f"{path.absolute().parent} is no folder that can be written. Make it first, or "
                "choose another one."
            )
    if options.plot_path is not None:
        _need("matplotlib", "--plot")
        check_plot(options.plot_path)
    from rich.console import Console

    from mbert.steps import Steps

    from .report import table
    from .session import compare_programs

    to_stdout = options.json_path == STDOUT
    steps = Steps()
    machine = this_machine()  # before the export keeps it busy
    bundle, checkpoint = options.bundle, options.checkpoint
    if options.shape is not None:
        folder = options.keep or scratch / "made"
        made, bundle = places(options.shape, folder)
        checkpoint = str(made)
        with steps(f"export random weights of the shape {options.shape}"):
            _make_random(options.shape, folder, scratch)
    assert bundle is not None
    report = compare_programs(
        bundle,
        checkpoint,
        options.peers,
        workloads,
        machine=machine,
        threads=options.threads or machine.cores,
        seconds=options.seconds,
        scratch=scratch,
        progress=steps,
    )
    console = Console(stderr=to_stdout)
    if not console.is_terminal:
        console.width = _FILE_WIDTH
    console.print(table(report))
    if to_stdout:
        click.echo(report.to_json())
    elif options.json_path is not None:
        options.json_path.write_text(report.to_json() + "\n", encoding="utf-8")
    if options.plot_path is not None:
        plot(report, options.plot_path)


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
