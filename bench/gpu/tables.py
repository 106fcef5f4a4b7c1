"""Tables in plain text, without the package rich."""

from __future__ import annotations

from collections.abc import Sequence


def table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table: the first column left-aligned, the others right-aligned.

    Args:
        title: the line above the table.
        headings: of the columns.
        rows: one text for each column.
    """
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        first, *rest = zip(cells, widths, strict=True)
        return "  ".join((first[0].ljust(first[1]), *(c.rjust(w) for c, w in rest))).rstrip()

    return "\n".join(
        (title, line(headings), "  ".join("-" * width for width in widths), *map(line, rows))
    )


def microseconds(seconds: float | None) -> str:
    """Return a time in microseconds, "-" for None."""
    return "-" if seconds is None else f"{seconds * 1e6:,.1f}"
