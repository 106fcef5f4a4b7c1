"""Every code block of the pages runs, and prints what the page shows.

A page's blocks run in order, in a folder that has the repository's ``examples``. They share
Python's variables. ``bundle(name, task)`` in a hidden ``<!-- setup ... -->`` comment makes a
bundle. A block below ``<!-- not run: REASON -->`` is only parsed: its options and targets exist.
"""

from __future__ import annotations

import doctest
import math
import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from mbert.cli import main
from support.checkpoints import make_checkpoint
from support.export_cache import ExportCache
from support.pages import PAGES, ROOT, Block, blocks, name_of
from support.retrieval import make_pylate
from support.text import add_tokenizer
from support.thinning import thinned

TINY = ROOT / "examples" / "tiny"
# Pages that make several bundles.
SLOW = {
    ROOT / "docs" / name
    for name in ("choosing-a-precision.md", "labels-and-answers.md", "retrieval.md")
}
SHELL = {"sh", "console"}
# The commands that blocks may run, as arguments of `mbert`.
COMMANDS = {"mbert": (), "mbert-export": ("export",), "mbert-bench": ("bench",)}
# Commands of a shell block; a line that starts with spaces continues the one before.
_COMMANDS = re.compile(r"^\S.*(?:\n[ \t]+.*)*$", re.MULTILINE)
_NUMBER = re.compile(r"-?\d+\.\d*")


def _with_head(task: str, **config: Any) -> Callable[[Path], Path]:
    return lambda folder: add_tokenizer(make_checkpoint(folder, task, **config))


# What `bundle` makes bundles of, where examples/tiny has no weights for a task.
CHECKPOINTS: dict[str, Callable[[Path], Path]] = {
    "text-classification": _with_head("text-classification", num_labels=3),
    "zero-shot": _with_head(
        "text-classification", id2label={0: "contradiction", 1: "neutral", 2: "entailment"}
    ),
    "reranking": _with_head("text-classification", num_labels=1),
    "token-classification": _with_head("token-classification", num_labels=3),
    "question-answering": _with_head("question-answering"),
    "multi-vector": make_pylate,
}


@pytest.fixture(scope="session")
def bundles(
    exports: ExportCache, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """Return a function from a task to a bundle."""

    def bundle(task: str) -> Path:
        if task not in CHECKPOINTS:
            return exports(TINY, task)
        return exports(CHECKPOINTS[task](tmp_path_factory.mktemp(task) / "checkpoint"))

    return bundle


class _Checker(doctest.OutputChecker):
    """Numbers may differ by what another processor rounds; ``...`` stands for anything."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        words = [" ".join(_NUMBER.sub(" # ", text).split()) for text in (want, got)]
        if "..." in want or words[0] != words[1]:
            return super().check_output(want, got, optionflags)
        numbers = zip(_NUMBER.findall(want), _NUMBER.findall(got), strict=True)
        return all(math.isclose(float(a), float(b), abs_tol=2e-3) for a, b in numbers)


FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.mark.parametrize("page", thinned(PAGES, set(PAGES) - SLOW), ids=name_of)
def test_blocks_run(
    page: Path,
    bundles: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    (tmp_path / "examples").mkdir()
    for path in (ROOT / "examples").iterdir():
        (tmp_path / "examples" / path.name).symlink_to(path)

    def bundle(name: str, task: str) -> None:
        (tmp_path / name).symlink_to(bundles(task))

    namespace: dict[str, Any] = {"bundle": bundle}
    for block in blocks(page):
        where = f"{name_of(page)}:{block.line}"
        if block.reason is not None:
            _parse(block, where)
        elif block.language == "python":
            # Lines in front of it make tracebacks name the page's line.
            code = compile("\n" * (block.line - 1) + block.text, name_of(page), "exec")
            exec(code, namespace)
        elif block.language == "pycon":
            _run_session(block, namespace, where)
        elif block.language in SHELL:
            _run_commands(block, where)
        else:
            assert block.language == "text", f"{where}: unknown language {block.language!r}"


def _run_session(block: Block, namespace: dict[str, Any], where: str) -> None:
    test = doctest.DocTestParser().get_doctest(
        block.text, namespace, where, where.partition(":")[0], block.line - 1
    )
    report: list[str] = []
    runner = doctest.DocTestRunner(_Checker(), verbose=False, optionflags=FLAGS)
    runner.run(test, out=report.append, clear_globs=False)
    namespace.update(test.globs)
    assert not runner.summarize(verbose=False).failed, "".join(report)


def _run_commands(block: Block, where: str) -> None:
    """Run a block; in a ``console`` block, compare what each command prints."""
    commands: list[tuple[str, str | None]] = [(c, None) for c in _COMMANDS.findall(block.text)]
    if block.language == "console":
        parts = re.split(r"^\$ (.*)\n", block.text, flags=re.MULTILINE)[1:]
        commands = list(zip(parts[::2], parts[1::2], strict=True))
    for command, want in commands:
        program, *arguments = shlex.split(command, comments=True) or [""]
        if program == "cd":
            os.chdir(arguments[0])  # monkeypatch.chdir restores the tests' folder
            continue
        assert program in COMMANDS, f"{where}: only {', '.join(COMMANDS)} can be run"
        # In this process: starting another one for each command would take most of the time.
        done = CliRunner().invoke(main, [*COMMANDS[program], *arguments])
        assert done.exit_code == 0, f"{where}: {command}\n{done.output}"
        if want is not None:
            same = _Checker().check_output(want, done.stdout, FLAGS)
            assert same, f"{where}: {command}\nexpected:\n{want}\nprinted:\n{done.stdout}"


def _parse(block: Block, where: str) -> None:
    if block.language == "python":
        compile(block.text, where, "exec")
        return
    assert block.language in SHELL, f"{where}: only commands and Python can be parsed"
    for command in _COMMANDS.findall(block.text):
        words = shlex.split(command, comments=True)
        if not words:
            continue
        program, *arguments = words
        if program == "make":
            targets = [word for word in arguments if "=" not in word]
            makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
            assert all(re.search(rf"^{name}:", makefile, re.MULTILINE) for name in targets), where
        elif program in ("bash", "python") and not arguments[0].startswith("-"):
            assert any((folder / arguments[0]).exists() for folder in (ROOT, TINY)), where
        elif program in COMMANDS:
            found: click.Command | None = main
            arguments = [*COMMANDS[program], *arguments]
            while isinstance(found, click.Group):
                name, *arguments = arguments
                found = found.get_command(click.Context(found), name)
            assert found is not None, f"{where}: no command {name}"
            try:
                found.make_context(name, arguments)
            except click.exceptions.Exit:  # an option such as --list-gpus
                pass
            except click.ClickException as error:
                pytest.fail(f"{where}: {command}\n{error.format_message()}")


def test_numbers_of_an_output_may_differ_by_rounding_alone() -> None:
    same = _Checker().check_output
    assert same("[1.  , 0.94]\n", "[1.001, 0.9405]\n", FLAGS)
    assert same("God 0.940\n", "God 0.941\n", FLAGS)
    assert not same("God 0.940\n", "God 0.950\n", FLAGS)
    assert not same("God 0.940\n", "Lord 0.940\n", FLAGS)
    assert same("in ... s\n", "in 3.1 s\n", FLAGS)
