"""``mbert run``."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

import mbert
from mbert.cli import main
from mbert.runtime.model import LOOK_AHEAD
from support.task_cases import CASES, extract_bundles
from support.text import SENTENCES

MASKED = ("The [MASK] rose.", "Bread is made of [MASK] and [MASK].")


def run(*arguments: object, given: str | bytes | None = None) -> Result:
    return CliRunner().invoke(main, ["run", *map(str, arguments)], input=given)


def lines(result: Result) -> list[dict[str, object]]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


# ---- each task


def test_embeddings_as_json(embed_bundle: Path, embedder: mbert.Embedder) -> None:
    found = lines(run(embed_bundle, "--json", "--text", SENTENCES[0], "--text", SENTENCES[1]))
    assert [entry["text"] for entry in found] == list(SENTENCES[:2])
    vectors = np.array([entry["embedding"] for entry in found], np.float32)
    np.testing.assert_array_equal(vectors, embedder.embed(SENTENCES[:2]))


def test_the_pooling_can_be_chosen(embed_bundle: Path, embedder: mbert.Embedder) -> None:
    found = lines(run(embed_bundle, "--json", "--pooling", "cls", "--text", SENTENCES[0]))
    expected = embedder.embed(SENTENCES[0], pooling="cls")
    np.testing.assert_array_equal(np.array(found[0]["embedding"], np.float32), expected)


def test_embeddings_are_shown_shortened(embed_bundle: Path) -> None:
    result = run(embed_bundle, "--text", SENTENCES[0])
    assert result.exit_code == 0
    text, vector = result.stdout.splitlines()
    assert text == SENTENCES[0]
    assert vector.endswith("64 dimensions")


def test_masks_as_json(fill_mask_bundle: Path, masker: mbert.MaskFiller) -> None:
    arguments = [argument for text in MASKED for argument in ("--text", text)]
    found = lines(run(fill_mask_bundle, "--json", "--top-k", 3, *arguments))
    expected = masker.fill_mask(MASKED, top_k=3)
    assert [entry["text"] for entry in found] == list(MASKED)
    for entry, masks in zip(found, expected, strict=True):
        shown = entry["masks"]
        assert isinstance(shown, list)
        assert [[c["token_id"] for c in candidates] for candidates in shown] == [
            [c.token_id for c in candidates] for candidates in masks
        ]
        assert {key for candidates in shown for c in candidates for key in c} == {
            "token",
            "token_id",
            "score",
        }


def test_masks_are_shown_one_a_line(fill_mask_bundle: Path) -> None:
    result = run(fill_mask_bundle, "--text", MASKED[1])
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 3


def test_labels_as_json(classify_bundle: Path, classifier: mbert.Classifier) -> None:
    found = lines(run(classify_bundle, "--json", "--text", SENTENCES[0]))
    labels = found[0]["labels"]
    assert isinstance(labels, list)
    expected = classifier.classify(SENTENCES[0])
    assert [entry["label"] for entry in labels] == [entry.label for entry in expected]
    scores = [entry["score"] for entry in labels]
    assert scores == pytest.approx([entry.score for entry in expected])


def test_labels_are_shown_best_first(classify_bundle: Path, classifier: mbert.Classifier) -> None:
    result = run(classify_bundle, "--top-k", 1, "--text", SENTENCES[0])
    assert result.exit_code == 0
    best = classifier.classify(SENTENCES[0])[0].label
    assert result.stdout.splitlines()[1].split()[0] == best


# ---- where texts come from


def test_texts_come_from_a_file_or_standard_input(embed_bundle: Path, tmp_path: Path) -> None:
    contents = "\n".join((*SENTENCES[:2], "Ünïcödé, ☃", "")) + "\n"
    (tmp_path / "texts").write_text(contents, encoding="utf-8")
    expected = [*SENTENCES[:2], "Ünïcödé, ☃", ""]
    from_file = lines(run(embed_bundle, "--json", "--file", tmp_path / "texts"))
    assert [entry["text"] for entry in from_file] == expected
    for arguments in ((), ("--file", "-")):
        assert lines(run(embed_bundle, "--json", *arguments, given=contents)) == from_file


def test_line_ends_of_other_systems_are_line_ends(embed_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "texts").write_bytes(b"one\r\ntwo")
    found = lines(run(embed_bundle, "--json", "--file", tmp_path / "texts"))
    assert [entry["text"] for entry in found] == ["one", "two"]


def test_no_texts_give_no_output(embed_bundle: Path) -> None:
    result = run(embed_bundle, "--json", given="")
    assert (result.exit_code, result.stdout) == (0, "")


# ---- errors


def fails(result: Result, message: str, status: int = 1) -> None:
    assert result.exit_code == status
    assert message in result.output
    assert "Traceback" not in result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)


def test_a_bundle_that_is_none_is_one_line(tmp_path: Path) -> None:
    result = run(tmp_path, "--text", "x")
    fails(result, "Error: ")
    assert result.output.count("\n") == 1


def test_too_long_a_text_is_refused_or_cut(embed_bundle: Path) -> None:
    text = "river " * 3000
    fails(run(embed_bundle, "--text", "x", "--text", text), "Text 1 ")
    found = lines(run(embed_bundle, "--json", "--overflow", "truncate", "--text", text))
    assert len(found) == 1


def test_a_text_without_a_mask_is_refused(fill_mask_bundle: Path) -> None:
    fails(run(fill_mask_bundle, "--text", "no mask"), "Text 0 ")


def test_texts_and_a_file_are_too_much(embed_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "texts").write_text("one\n")
    result = run(embed_bundle, "--text", "x", "--file", tmp_path / "texts")
    fails(result, "--text or --file", status=2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--file", "/no/such/file"), "/no/such/file"),
        (("--top-k", "0", "--text", "x"), "--top-k"),
        (("--threads", "0", "--text", "x"), "--threads"),
        (("--pooling", "max", "--text", "x"), "'max'"),
    ],
)
def test_wrong_options_are_explained(
    embed_bundle: Path, arguments: tuple[str, ...], message: str
) -> None:
    fails(run(embed_bundle, *arguments), message, status=2)


def test_a_file_that_is_not_utf8_is_refused(embed_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "texts").write_bytes("café\n".encode("latin-1"))
    fails(run(embed_bundle, "--file", tmp_path / "texts"), "UTF-8")


# ---- the program itself

PROGRAM = "from mbert.cli import main; main(prog_name='mbert')"


def start(
    folder: Path, *arguments: object, given: bytes = b"", locale: str = "C.UTF-8"
) -> subprocess.CompletedProcess[bytes]:
    command = [os.fsencode(str(a)) for a in (sys.executable, "-c", PROGRAM, "run", *arguments)]
    environment = {**os.environ, "LC_ALL": locale}
    environment.pop("PYTHONIOENCODING", None)
    return subprocess.run(
        command, input=given, capture_output=True, cwd=folder, env=environment, timeout=120
    )


def test_the_program_reads_and_writes_utf8(embed_bundle: Path, tmp_path: Path) -> None:
    done = start(tmp_path, embed_bundle, "--json", given="Ünïcödé ☃\n".encode())
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""
    assert json.loads(done.stdout)["text"] == "Ünïcödé ☃"


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_bytes_that_are_no_text_are_refused(
    embed_bundle: Path, tmp_path: Path, locale: str
) -> None:
    """Python hands them on as surrogates: in arguments always, from standard input in C."""
    for done in (
        start(tmp_path, embed_bundle, "--text", "caf\udce9", locale=locale),
        start(tmp_path, embed_bundle, given=b"caf\xe9\n", locale=locale),
    ):
        assert done.returncode == 1
        assert b"Traceback" not in done.stderr
        assert done.stderr.startswith(b"Error: ")


# ---- streaming


def test_the_first_result_comes_before_the_last_line_is_written(
    embed_bundle: Path, embedder: mbert.Embedder, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", PROGRAM, "run", str(embed_bundle), "--json"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=tmp_path, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        found = []
        # Lines in blocks of 1, 2 and 4: each block's results come before the next one is written.
        for count in (1, 2, 4):
            for _ in range(count):
                process.stdin.write(SENTENCES[len(found) % 6] + "\n")
            process.stdin.flush()
            found += [json.loads(process.stdout.readline()) for _ in range(count)]
        process.stdin.write("the last")
        process.stdin.close()
        found.append(json.loads(process.stdout.readline()))
        assert process.wait(60) == 0
    assert found[-1]["text"] == "the last"
    expected = embedder.embed([entry["text"] for entry in found])
    vectors = np.array([entry["embedding"] for entry in found], np.float32)
    np.testing.assert_allclose(vectors, expected, atol=2e-5)


def test_each_line_of_a_terminal_is_answered_before_the_next(
    embed_bundle: Path, tmp_path: Path
) -> None:
    master, terminal = os.openpty()
    command = [sys.executable, "-c", PROGRAM, "run", str(embed_bundle), "--json"]
    with subprocess.Popen(
        command, stdin=terminal, stdout=subprocess.PIPE, cwd=tmp_path, text=True
    ) as process:
        assert process.stdout is not None
        for text in SENTENCES[:4]:
            os.write(master, f"{text}\n".encode())
            assert json.loads(process.stdout.readline())["text"] == text
        os.write(master, b"\x04")  # Ctrl-D
        assert process.wait(60) == 0
    os.close(master)
    os.close(terminal)


def test_an_error_comes_after_the_results_before_it(masker: mbert.MaskFiller) -> None:
    given = "one [MASK]\ntwo [MASK]\nthree [MASK]\nfour\n"
    result = run(masker.context.folder, "--json", given=given)
    assert result.exit_code == 1
    assert "Text 3" in result.stderr
    shown = [json.loads(line)["text"] for line in result.stdout.splitlines()]
    assert shown == ["one [MASK]", "two [MASK]", "three [MASK]"]


@pytest.mark.parametrize("name", [name for name in CASES if name != "question-answering"])
def test_lines_are_not_kept(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Memory is bounded: at most as many lines are read ahead as an iterator's block holds."""
    case = CASES[name]
    bundle = extract_bundles(tmp_path_factory.mktemp("streams"))[case.bundle]
    taken = 0

    def endless() -> Iterator[str]:
        nonlocal taken
        while True:
            taken += 1
            yield case.single("a")

    count = 2 * LOOK_AHEAD + 500
    with mbert.load(bundle, threads=2) as model:
        answers = model.commands[0].answer(model, endless())
        for number, (text, shown, found) in enumerate(itertools.islice(answers, count), 1):
            assert taken - number < LOOK_AHEAD
            assert text == case.single("a")
            assert shown
            assert found
    assert taken < count + LOOK_AHEAD


def test_contexts_are_not_kept(tmp_path: Path) -> None:
    bundle = extract_bundles(tmp_path)["question-answering"]
    taken = 0

    def endless() -> Iterator[str]:
        nonlocal taken
        while True:
            taken += 1
            yield "the river"

    with mbert.load(bundle, threads=2) as model:
        answers = model.commands[0].answer(model, endless(), question="What?")
        for number, _ in enumerate(itertools.islice(answers, LOOK_AHEAD + 100), 1):
            assert taken - number < LOOK_AHEAD
