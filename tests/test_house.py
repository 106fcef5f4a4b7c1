"""Bounds on the sources: where tasks are named, how long files are."""

from __future__ import annotations

import re
from pathlib import Path

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
