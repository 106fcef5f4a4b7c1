"""The progress bar."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import mbert
from support.text import SENTENCES


class _Terminal:
    """Standard error that says it is a terminal."""

    def __init__(self) -> None:
        self.written = ""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.written += text
        return len(text)

    def flush(self) -> None:
        pass


def test_progress_is_shown_on_a_terminal(
    embedder: mbert.Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = []
    for call in (
        lambda: embedder.embed(SENTENCES, progress=True),
        lambda: list(embedder.embed_iter(SENTENCES, progress=True)),
        lambda: list(embedder.embed_iter(iter(SENTENCES), progress=True)),
        lambda: embedder.embed(SENTENCES),
    ):
        terminal = _Terminal()
        monkeypatch.setattr(sys, "stderr", terminal)
        call()
        shown.append(terminal.written)
    assert "100%" in shown[0]
    assert "100%" in shown[1]
    assert "6" in shown[2]
    assert shown[3] == ""


def test_no_bar_is_written_into_a_file(
    embedder: mbert.Embedder, capsys: pytest.CaptureFixture[str]
) -> None:
    embedder.embed(SENTENCES, progress=True)
    assert capsys.readouterr().err == ""


def test_no_bar_is_written_where_there_is_no_console(
    embedder: mbert.Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = embedder.embed(SENTENCES)
    monkeypatch.setattr(sys, "stderr", None)
    np.testing.assert_array_equal(embedder.embed(SENTENCES, progress=True), expected)
