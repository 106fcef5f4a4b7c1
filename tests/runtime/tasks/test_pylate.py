"""Vectors of tokens and MaxSim, held against PyLate, which runs on libraries of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mbert
from support.export_cache import ExportCache
from support.family import make_member
from support.retrieval import make_pylate
from support.text import LONG_TEXT, TEXTS

# Runs PyLate in a process for each folder.
pytestmark = pytest.mark.thorough

ROOT = Path(__file__).parents[3]
PYLATE = ROOT / "build" / "pylate"
PROGRAM = ROOT / "tests" / "support" / "pylate" / "encode.py"
TOLERANCE = 1e-4
ALL = (*TEXTS, LONG_TEXT, "what [Q] is [D] that", "x" * 3000)
# The sentence-transformers that PyLate pins strips texts itself; mbert and 6.2 embed them whole.
STRIPPED = tuple(text.strip() for text in ALL)

MAKERS = {
    # Longer than the window, so that the last expansion tokens see nothing in it.
    "unseen": lambda folder: make_pylate(folder, query_length=40, document_length=300),
    "attended": lambda folder: make_pylate(
        folder, attend_to_expansion_tokens=True, skiplist_words=[".", ",", "the"]
    ),
    "unexpanded": lambda folder: make_pylate(folder, do_query_expansion=False, query_length=12),
    "GTE-ModernColBERT-v1": lambda folder: make_member(folder, "GTE-ModernColBERT-v1"),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    return {name: make(folder / name) for name, make in MAKERS.items()}


@pytest.fixture(scope="module")
def expected(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What PyLate gives, in a process of its own: it loads other releases than the tests."""
    assert (PYLATE / ".ready").exists(), f"PyLate is not in {PYLATE}: run `make pylate`."
    target = tmp_path_factory.mktemp("pylate") / "arrays.npz"
    request = {"texts": ALL, "folders": {name: str(path) for name, path in folders.items()}}
    done = subprocess.run(
        [sys.executable, PROGRAM, target],
        input=json.dumps(request),
        env={**os.environ, "PYTHONPATH": str(PYLATE), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with np.load(target) as arrays:
        return dict(arrays)


@pytest.fixture(scope="module", params=MAKERS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def model(name: str, folders: dict[str, Path], exports: ExportCache) -> Iterator[mbert.Model]:
    with mbert.load(exports(folders[name]), threads=2) as model:
        yield model


@pytest.mark.parametrize("role", ["query", "document"])
def test_vectors_are_pylates(name: str, role: str, model: mbert.Model, expected: Any) -> None:
    found = model.embed(STRIPPED, role=role, overflow="truncate")
    for i, vectors in enumerate(found):
        np.testing.assert_allclose(vectors, expected[f"{name}/{role}/{i}"], atol=TOLERANCE, rtol=0)


def test_documents_are_scored_as_by_pylate(name: str, model: mbert.Model, expected: Any) -> None:
    scores = expected[f"{name}/scores"]
    found = model.rerank(STRIPPED[0], STRIPPED, overflow="truncate")
    assert sorted(result.index for result in found) == list(range(len(ALL)))
    ranked = [result.score for result in found]
    assert ranked == sorted(ranked, reverse=True)
    own = [scores[result.index] for result in found]
    np.testing.assert_allclose(ranked, own, atol=TOLERANCE * np.abs(scores).max(), rtol=0)


@pytest.mark.parametrize("role", ["query", "document"])
def test_the_other_roles_vectors_exceed_the_tolerance(
    name: str, role: str, model: mbert.Model, expected: Any
) -> None:
    """A test of the tests."""
    other = {"query": "document", "document": "query"}[role]
    found = model.embed(STRIPPED[0], role=other, overflow="truncate")
    right = expected[f"{name}/{role}/0"]
    rows = min(len(found), len(right))
    assert np.abs(found[:rows] - right[:rows]).max() > 10 * TOLERANCE
