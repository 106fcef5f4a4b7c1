"""Bounds on the sources: where tasks are named, how long files and lines are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("mbert", "model", "export", "runtime", "plugins", "bench")
TASK = re.compile(
    '"(feature-extraction|sentence-similarity|fill-mask|text-classification|'
    'token-classification|question-answering|sparse-embedding|multi-vector)"'
)
# Where tasks are at home.
ROOMS = ("export/tasks", "runtime/tasks")
MOST_LINES_WITH_A_TASK = 20
LONGEST_FILE = 700
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_few_lines_outside_the_tasks_rooms_name_a_task() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for folder in FOLDERS
        for path in sorted((ROOT / folder).rglob("*.py"))
        if not str(path.relative_to(ROOT)).startswith(ROOMS)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if TASK.search(line)
    ]
    assert len(found) <= MOST_LINES_WITH_A_TASK, found


def test_no_source_file_is_too_long() -> None:
    long = [
        str(path)
        for folder in (*FOLDERS, "tests")
        for pattern in ("*.py", "*.cc", "*.h", "*.cu", "*.cuh")
        for path in (ROOT / folder).rglob(pattern)
        if len(path.read_text().splitlines()) > LONGEST_FILE
    ]
    assert not long


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_lines_of_prose_are_short(page: Path) -> None:
    """Tables and links may take 120 columns, prose takes 100; code blocks are code."""
    long, is_code = [], False
    for number, line in enumerate(page.read_text().splitlines(), 1):
        is_code ^= line.lstrip().startswith("```")
        widest = 120 if line.startswith("|") or "](" in line else 100
        if not is_code and len(line) > widest:
            long.append(number)
    assert not long, long
