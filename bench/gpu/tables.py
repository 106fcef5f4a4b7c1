"""Tables in plain text: the machine has nothing that would draw them."""

from __future__ import annotations

from collections.abc import Sequence


def table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Draw a table: the first column to the left, the others to the right.

    Args:
        title: the line above it.
        headings: of the columns.
        rows: a text for each column.
    """
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        first, *rest = zip(cells, widths, strict=True)
        return "  ".join((first[0].ljust(first[1]), *(c.rjust(w) for c, w in rest))).rstrip()

    return "\n".join(
        (title, line(headings), "  ".join("-" * width for width in widths), *map(line, rows))
    )


def microseconds(seconds: float | None) -> str:
    """A time, or a dash where there is none."""
    return "-" if seconds is None else f"{seconds * 1e6:,.1f}"
