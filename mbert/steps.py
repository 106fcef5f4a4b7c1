"""Named steps of a long command, shown with their times. Needs rich, which comes with the extras."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console


class Steps:
    """Prints each step's name when it begins and its time when it ends.

    ``seconds`` keeps the times by name.
    """

    def __init__(self, console: Console) -> None:
        """Print to ``console``."""
        self._console = console
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Run one step."""
        start = time.perf_counter()
        # No spinner: redrawing it takes processor time, which a benchmark's steps measure.
        self._console.print(f"{name} ...", end="", highlight=False)
        try:
            yield
        except BaseException:
            self._console.print()
            raise
        self.seconds[name] = time.perf_counter() - start
        self._console.print(f" [dim]{self.seconds[name]:.1f} s[/]", highlight=False)
