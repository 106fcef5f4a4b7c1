"""Parameters of tests that only ``make test-thorough`` runs."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def thinned(cases: Iterable[Any], keep: Collection[Any]) -> list[Any]:
    """Return parameters for ``cases``; those outside ``keep`` are marked thorough."""
    return [
        pytest.param(
            *(case if isinstance(case, tuple) else (case,)),
            marks=() if case in keep else pytest.mark.thorough,
        )
        for case in cases
    ]
