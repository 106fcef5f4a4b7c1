"""Named steps of a long command, shown on standard error with their times."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click


class Steps:
    """Prints each step's name when it begins and its time when it ends.

    ``seconds`` keeps the times by name.
    """

    def __init__(self, quiet: bool = False) -> None:
        """Print, unless ``quiet``."""
        self._quiet = quiet
        self._step = ""
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Run one step."""
        start = time.perf_counter()
        self._step = name
        self._print(f"{name} ...", nl=False)
        try:
            yield
        except BaseException:
            self._print("")
            raise
        self.seconds[name] = time.perf_counter() - start
        self._print(click.style(f" {self.seconds[name]:.1f} s", dim=True))

    def advance(self, doing: str, part: float) -> None:
        """Show how far the step is, on a terminal."""
        if sys.stderr.isatty():
            self._print(f"\r{self._step} ... {part:4.0%} ", nl=False)

    def say(self, text: str) -> None:
        """Print a line between steps."""
        self._print(text)

    def _print(self, text: str, nl: bool = True) -> None:
        if not self._quiet:
            click.echo(text, nl=nl, err=True)
