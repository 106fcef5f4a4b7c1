"""Results of a step: checks and times."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

_MOST_CHARACTERS = 500


@dataclass(frozen=True)
class Check:
    """The result of one check; ``problem`` is None if it passed.

    ``error`` and ``allowed`` are None unless numbers were compared.
    """

    name: str
    problem: str | None = None
    error: float | None = None
    allowed: float | None = None


@dataclass(frozen=True)
class Findings:
    """The results of a step.

    Attributes:
        checks: in the order in which they ran.
        times: rows of the step's table, with the step's keys.
        notes: for readers of the table.
    """

    checks: list[Check] = field(default_factory=list)
    times: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def check(name: str, function: Callable[[], object]) -> Check:
    """Run a function that raises if the check fails."""
    try:
        function()
    except Exception as error:
        return Check(name, in_words(error))
    return Check(name)


def compare(name: str, error: float, allowed: float) -> Check:
    """Compare an error with its bound; NaN exceeds every bound."""
    problem = None if error <= allowed else f"errs by {error:.2e}, allowed are {allowed:.2e}"
    return Check(name, problem, error, allowed)


def in_words(error: BaseException) -> str:
    """Return an exception's class and message in one line, shortened."""
    text = " | ".join(line.strip() for line in str(error).splitlines() if line.strip())
    return f"{type(error).__name__}: {textwrap.shorten(text, _MOST_CHARACTERS)}"
