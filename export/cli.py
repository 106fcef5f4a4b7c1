"""``mbert-export``: the export with its progress and its summary."""

from __future__ import annotations

import json
import signal
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mbert.errors import MbertError
from mbert.model import DEFAULT_CHECKPOINT, TASKS
from mbert.runtime.manifest import Manifest
from mbert.steps import Steps

from .pipeline import convert


@click.command()
@click.argument("checkpoint", default=DEFAULT_CHECKPOINT)
@click.option("--cpu", is_flag=True, help="Target: any CPU of this kind (the default).")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="The bundle folder to write.",
)
@click.option("--task", type=click.Choice(list(TASKS)), help="Default: the checkpoint's own.")
@click.option("--revision", help="Branch, tag or commit of a hub id.")
@click.option("--force", is_flag=True, help="Replace an existing bundle.")
@click.option("--quiet", is_flag=True, help="Print errors only.")
@click.option("--json", "as_json", is_flag=True, help="Print the manifest and times as JSON.")
def main(
    checkpoint: str,
    cpu: bool,
    output: Path,
    task: str | None,
    revision: str | None,
    force: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Export CHECKPOINT (a folder or a Hugging Face hub id) to a verified bundle."""
    # Progress goes to stderr, so that --json can be piped.
    steps = Steps(quiet)
    # A request to end, or a closed terminal, unwinds like Ctrl-C does: nothing half-written stays.
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup asks for
            signal.signal(number, signal.default_int_handler)
    try:
        manifest = convert(
            checkpoint, output, task=task, revision=revision, force=force, progress=steps
        )
    except MbertError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps({"manifest": asdict(manifest), "seconds": steps.seconds}))
    elif not quiet:
        Console().print(summary(manifest, output, sum(steps.seconds.values())))


def summary(manifest: Manifest, output: Path, seconds: float) -> Table:
    """What was exported and how exact it is, as a table."""
    record = manifest.verification
    table = Table(show_header=False, title=Text(str(output)))
    size = sum(entry.size for entry in manifest.files.values())
    shape = manifest.model
    table.add_row("task", manifest.task)
    table.add_row("target", f"{manifest.target}, {manifest.precision}, {manifest.backend}")
    table.add_row(
        "model",
        f"{len(shape['layers'])} layers, hidden {shape['hidden_size']}, "
        f"up to {manifest.limits.max_sequence_length} tokens",
    )
    for name, check in record["checks"].items():
        table.add_row(
            f"error, {name}",
            f"{check['max_abs_error']:.2e} (tolerance {record['tolerance']:.2e}, "
            f"largest value {record['largest_value']:.3g})",
        )
    table.add_row("size", f"{size / 1e6:.1f} MB")
    table.add_row("time", f"{seconds:.1f} s")
    return table
