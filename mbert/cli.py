"""The ``mbert`` command: a group whose subcommands live beside the code they call."""

from __future__ import annotations

import importlib

import click

from . import __version__, _missing

# Where each subcommand lives; imported only when it is called, so that `mbert run` needs no torch.
SUBCOMMANDS = {
    "bench": "mbert.bench.cli",
    "export": "mbert.export.cli",
    "inspect": "mbert.runtime.inspection",
    "run": "mbert.runtime.cli",
    "verify": "mbert.export.verify.cli",
}


def _command(name: str) -> click.Command:
    try:
        command = importlib.import_module(SUBCOMMANDS[name]).main
    except ModuleNotFoundError as error:
        return _unavailable(name, _missing(str(error.name), SUBCOMMANDS[name].split(".")[1]))
    assert isinstance(command, click.Command)
    return command


def _unavailable(name: str, reason: str) -> click.Command:
    """Still listed on a bare serving machine, where only `run` works."""

    @click.command(
        name,
        help=f"Not available. {reason}",
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )
    def command() -> None:
        raise click.ClickException(reason)

    return command


class LazyGroup(click.Group):
    """A click group that imports a subcommand when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the subcommands."""
        return sorted(SUBCOMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of a subcommand and return its command."""
        return _command(cmd_name) if cmd_name in SUBCOMMANDS else None


@click.group(cls=LazyGroup)
@click.version_option(__version__, package_name="mbert")
def main() -> None:
    """Take a ModernBERT checkpoint to production speed."""


def export() -> None:
    """Run ``mbert-export``."""
    _command("export")(prog_name="mbert-export")


def bench() -> None:
    """Run ``mbert-bench``."""
    _command("bench")(prog_name="mbert-bench")
