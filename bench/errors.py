"""The error of a comparison that cannot be made."""

from __future__ import annotations

from mbert.errors import MbertError


class BenchError(MbertError):
    """A program died or computed something else: there is nothing to compare."""
