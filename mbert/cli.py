"""The ``mbert`` command: a group whose subcommands live beside the code they call."""

from __future__ import annotations

import importlib

import click

from . import __version__

# Where each subcommand lives; imported only when it is called, so that `mbert run` needs no torch.
SUBCOMMANDS = {
    "bench": "mbert.bench.cli:main",
    "export": "mbert.export.cli:main",
    "run": "mbert.runtime.cli:run",
}


class LazyGroup(click.Group):
    """A click group that imports a subcommand when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the subcommands."""
        return sorted(SUBCOMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of a subcommand and return its command."""
        if cmd_name not in SUBCOMMANDS:
            return None
        module, attribute = SUBCOMMANDS[cmd_name].split(":")
        try:
            command = getattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError as error:
            # Only `run` works on a bare serving machine; the others live in extras. Still listed.
            return _unavailable(cmd_name, str(error.name))
        assert isinstance(command, click.Command)
        return command


def _unavailable(name: str, module: str) -> click.Command:
    text = f"needs the Python module {module!r}: install it with `pip install 'mbert[{name}]'`"

    @click.command(
        name,
        help=f"({text})",
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )
    def command() -> None:
        raise click.ClickException(f"`mbert {name}` {text}.")

    return command


@click.group(cls=LazyGroup)
@click.version_option(__version__, package_name="mbert")
def main() -> None:
    """Take a ModernBERT checkpoint to production speed."""
