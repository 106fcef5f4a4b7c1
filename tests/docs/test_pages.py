"""Pages link to what exists, keep to their width, and show the figures of the records."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path

import pytest

from support.family import FAMILY, SIZES
from support.pages import PAGES, ROOT, anchors, name_of, prose

README = ROOT / "README.md"
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_PATH = re.compile(r"`((?:bench|docs|examples|export|mbert|model|plugins|runtime|tests)/[^`\s]*)`")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for link in _LINK.findall(prose(page)):
        if re.match(r"https?:|mailto:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{name_of(page)}: {link}"
        assert target.is_relative_to(ROOT), f"{name_of(page)}: {link}"
        assert not anchor or anchor in anchors(target), f"{name_of(page)}: {link}"


def test_every_page_is_linked() -> None:
    linked = {
        (page.parent / link.partition("#")[0]).resolve()
        for page in PAGES
        for link in _LINK.findall(prose(page))
    }
    linked |= {target / "README.md" for target in linked}  # GitHub shows a folder's
    assert set(PAGES) - linked - {README} == set()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_paths_exist(page: Path) -> None:
    """Paths in backticks that begin with a folder of the repository."""
    for path in _PATH.findall(prose(page)):
        assert list(ROOT.glob(path)), f"{name_of(page)}: {path}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_lines_keep_to_their_width(page: Path) -> None:
    """Prose 100 columns, rows of tables 120."""
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        most = 120 if line.startswith("|") else 100
        assert len(line) <= most, f"{name_of(page)}:{number} has {len(line)} columns"


def test_pages_show_the_figures_of_the_record() -> None:
    plots = runpy.run_path(str(ROOT / "docs" / "plots.py"))
    record = json.loads(plots["RECORD"].read_text(encoding="utf-8"))
    assert "\n".join(plots["table"](record)) in README.read_text(encoding="utf-8")
    detailed = (ROOT / "docs" / "cpu-performance.md").read_text(encoding="utf-8")
    for program in plots["PRECISIONS"]:
        assert "\n".join(plots["details"](record, program)) in detailed
    # The plot has the same figures as text.
    drawn = plots["PLOT"].read_text(encoding="utf-8")
    for of_precision in plots["ratios"](record).values():
        for ratio in of_precision.values():
            assert f">{ratio.median:.1f}<" in drawn


def test_readme_lists_the_models_that_are_tested() -> None:
    contents = README.read_text(encoding="utf-8")
    for name in {**FAMILY, **SIZES}:
        assert re.search(rf"\b{re.escape(name)}\b", contents), name
