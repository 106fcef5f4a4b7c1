"""What a step found: checks that passed or failed, and times."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

_MOST_CHARACTERS = 500


@dataclass(frozen=True)
class Check:
    """One thing that must hold; ``problem`` is None where it does.

    ``error`` and ``allowed`` are there where numbers were compared.
    """

    name: str
    problem: str | None = None
    error: float | None = None
    allowed: float | None = None


@dataclass(frozen=True)
class Findings:
    """What a step brings back.

    Attributes:
        checks: in the order in which they ran.
        times: rows of the step's table; their keys are the step's own.
        notes: what a reader of the table has to know.
    """

    checks: list[Check] = field(default_factory=list)
    times: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def check(name: str, function: Callable[[], object]) -> Check:
    """Run a function that raises where something is wrong."""
    try:
        function()
    except Exception as error:
        return Check(name, in_words(error))
    return Check(name)


def compare(name: str, error: float, allowed: float) -> Check:
    """Hold an error against its bound; what is not a number exceeds every bound."""
    problem = None if error <= allowed else f"errs by {error:.2e}, allowed are {allowed:.2e}"
    return Check(name, problem, error, allowed)


def in_words(error: BaseException) -> str:
    """Say what an exception says, without the pages that some libraries add."""
    text = " | ".join(line.strip() for line in str(error).splitlines() if line.strip())
    return f"{type(error).__name__}: {textwrap.shorten(text, _MOST_CHARACTERS)}"
