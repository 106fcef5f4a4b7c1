"""Read the project's Markdown pages: code blocks, prose and anchors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "examples/**/*.md", "plugins/**/*.md")
    for path in ROOT.glob(pattern)
)
_BLOCKS = re.compile(
    r"^<!-- setup\n(?P<setup>.*?)^-->$"
    r"|^(?:<!-- not run: (?P<reason>.*?) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Block:
    """A code block of a page.

    Attributes:
        language: of the fence; "python" for the hidden comment ``<!-- setup ... -->``.
        line: number of the first line of ``text``.
        reason: from ``<!-- not run: ... -->`` above the fence; None: the block runs.
    """

    language: str
    text: str
    line: int
    reason: str | None


def name_of(page: Path) -> str:
    """Return the path of a page from the repository's root."""
    return str(page.relative_to(ROOT))


def blocks(page: Path) -> Iterator[Block]:
    """Yield the code blocks of a page, in order."""
    contents = page.read_text(encoding="utf-8")
    for found in _BLOCKS.finditer(contents):
        group = "text" if found["setup"] is None else "setup"
        line = contents.count("\n", 0, found.start(group)) + 1
        language = found["language"] if group == "text" else "python"
        yield Block(language, found[group], line, found["reason"])


def prose(page: Path) -> str:
    """Return a page without its code blocks and comments, with the same line numbers."""
    contents = page.read_text(encoding="utf-8")
    hidden = re.compile(r"^```.*?^```$|<!--.*?-->", re.DOTALL | re.MULTILINE)
    return hidden.sub(lambda found: "\n" * found[0].count("\n"), contents)


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    kept = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in kept}
