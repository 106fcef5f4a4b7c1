"""``mbert run``: a bundle's results for texts from arguments, a file or standard input."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

import click

from mbert.errors import InputError, MbertError

from .loading import load
from .model import Model
from .tasks import COMMANDS
from .tasks.base import Command, CommandOption


def _click_option(option: CommandOption) -> click.Option:
    kind: Any = click.STRING
    if option.choices is not None:
        kind = click.Choice(option.choices)
    elif option.minimum is not None:
        kind = click.IntRange(min=option.minimum)
    if option.is_flag:
        return click.Option([option.flag], is_flag=True, default=None, help=option.help)
    return click.Option([option.flag], type=kind, help=option.help)


def _with_task_options(command: click.Command) -> click.Command:
    """Add the options of every task's commands, each once."""
    options = {option.name: option for task in COMMANDS for option in task.options}
    command.params += map(_click_option, options.values())
    return command


@_with_task_options
@click.command("run")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--text", "texts", multiple=True, help="A text; repeat the option for several.")
@click.option(
    "--file",
    "file",
    type=click.File("r", encoding="utf-8"),
    help="A file with one text on each line; - for standard input.",
)
@click.option("--threads", type=click.IntRange(min=1), help="Default: every core.")
@click.option("--device", help="Which GPU, for a bundle for GPUs: cuda:N. Default: the first.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for each text.")
def main(
    bundle: Path,
    texts: tuple[str, ...],
    file: TextIO | None,
    threads: int | None,
    device: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Run BUNDLE on texts: --text, --file, or one text a line on standard input.

    Results are printed while further lines are read.
    """
    chosen = {name: value for name, value in options.items() if value is not None}
    if texts and file:
        raise click.UsageError("Give --text or --file, not both.")
    try:
        with load(bundle, threads=threads, device=device) as model:
            command = _command(model, chosen, bundle)
            if command.streams and not texts and (file or sys.stdin).isatty():
                chosen["look_ahead"] = 1  # answer each line before the next is typed
            for text, shown, found in command.answer(model, iter(texts or _lines(file)), **chosen):
                if as_json:
                    click.echo(json.dumps({"text": text, **found}, ensure_ascii=False))
                else:
                    click.echo(f"{text}\n{shown}")
    except MbertError as error:
        raise click.ClickException(str(error)) from error


def _command(model: Model, chosen: dict[str, Any], bundle: Path) -> Command:
    """Return the model's command for the chosen options."""
    commands = model.commands
    command = next(
        (c for c in commands if c.required is not None and c.required.name in chosen), commands[0]
    )
    what = f"{bundle} is a {model.task} bundle"
    if command.required is not None and command.required.name not in chosen:
        raise click.UsageError(f"{what}, which needs {command.required.flag}.")
    taken = {option.name for option in command.options}
    for name in chosen:
        if name not in taken:
            flags = ", ".join(option.flag for option in command.options)
            raise click.UsageError(
                f"--{name.replace('_', '-')} does not apply: {what}, which takes {flags}."
            )
    return command


def _lines(file: TextIO | None) -> Iterator[str]:
    """Yield the lines of a file or standard input."""
    if file is None and sys.stdin.isatty():
        click.echo("Reading texts, one a line, until Ctrl-D.", err=True)
    source: Iterable[str] = file or sys.stdin
    try:
        for line in source:
            yield line.rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise InputError(f"The input is not UTF-8: {error}.") from error
