"""A progress bar on standard error, where that is a terminal."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bar(shown: bool, total: int | None) -> Iterator[Callable[[int], None]]:
    """Yield a callback that advances the bar. ``total`` may be unknown (None)."""
    # Without a console there is no standard error. click ends even a hidden bar with a newline.
    if not shown or sys.stderr is None or not sys.stderr.isatty():
        yield lambda _: None
        return
    import click  # imported only for a bar

    # Without a length click wants something to count; it is never iterated.
    with click.progressbar(
        itertools.count(), length=total, show_pos=total is None, file=sys.stderr
    ) as bar:
        yield bar.update
