"""Vectors of tokens and MaxSim, held against sentence-transformers' MultiVectorEncoder."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from sentence_transformers import MultiVectorEncoder

import mbert
from mbert.cli import main
from mbert.errors import BundleError, InputError
from mbert.runtime import MultiVectorEmbedder, feeds, maxsim
from mbert.runtime.tasks.multi_vector import MultiVectorSettings
from support.export_cache import ExportCache
from support.retrieval import DIM, PREFIXES, make_native, make_pylate
from support.text import LONG_TEXT, SENTENCES, TEXTS

ROLES = ("query", "document")
# Users know the library's numbers in float32.
TOLERANCE = 1e-4
# Longer than the window, so that the last expansion tokens see nothing in it.
PYLATE = {"query_length": 40, "document_length": 300}
ALL = (*TEXTS, LONG_TEXT, "what [Q] is [D] that", "x" * 3000)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("multi-vector")
    native = {"skiplist_words": [".", ",", "Ġthe"], "skiplist_tasks": ["query", "document"]}
    return {
        "unseen": make_pylate(folder / "unseen", **PYLATE),
        "attended": make_native(folder / "attended", **native),
    }


@pytest.fixture(scope="module")
def bundles(folders: dict[str, Path], exports: ExportCache) -> dict[str, Path]:
    return {name: exports(checkpoint) for name, checkpoint in folders.items()}


@pytest.fixture(scope="module")
def oracles(folders: dict[str, Path]) -> dict[str, MultiVectorEncoder]:
    return {name: MultiVectorEncoder(str(path), device="cpu") for name, path in folders.items()}


@pytest.fixture(scope="module")
def expected(oracles: dict[str, MultiVectorEncoder]) -> dict[tuple[str, str], list[Any]]:
    """The library's vectors, by folder and role."""
    found = {}
    for name, oracle in oracles.items():
        found[name, "query"] = oracle.encode_query(list(ALL), convert_to_numpy=True)
        found[name, "document"] = oracle.encode_document(list(ALL), convert_to_numpy=True)
    return found


@pytest.fixture(scope="module")
def model(bundles: dict[str, Path]) -> Iterator[MultiVectorEmbedder]:
    with MultiVectorEmbedder.load(bundles["unseen"], threads=2) as model:
        yield model


def error(found: list[Any], expected: list[Any]) -> float:
    """The largest; infinite where the numbers of vectors differ."""
    pairs = list(zip(found, expected, strict=True))
    if any(a.shape != b.shape for a, b in pairs):
        return float("inf")
    return max(float(np.abs(a - b).max()) for a, b in pairs if a.size)


@pytest.mark.parametrize("name", ["unseen", "attended"])
@pytest.mark.parametrize("role", ROLES)
def test_vectors_are_the_librarys(
    name: str, role: str, bundles: dict[str, Path], expected: dict[tuple[str, str], list[Any]]
) -> None:
    with MultiVectorEmbedder.load(bundles[name], threads=2) as model:
        found = model.embed(ALL, role=role, overflow="truncate")
    assert all(vectors.dtype == np.float32 and vectors.shape[1] == DIM for vectors in found)
    assert error(found, expected[name, role]) < TOLERANCE


def test_functions_give_the_same(
    bundles: dict[str, Path], expected: dict[tuple[str, str], list[Any]]
) -> None:
    with MultiVectorEmbedder.load(bundles["unseen"], threads=2, kernels=False) as model:
        found = model.embed(SENTENCES, role="query")
    assert error(found, expected["unseen", "query"][: len(SENTENCES)]) < TOLERANCE


def test_a_query_alone_has_the_vectors_that_it_has_among_others(
    model: MultiVectorEmbedder,
) -> None:
    together = model.embed(SENTENCES, role="query")
    alone = [model.embed(text, role="query") for text in SENTENCES]
    assert error(alone, together) < 2e-5


def _without_prefix(entry: dict[str, Any]) -> None:
    entry["query"]["prefix"] = None


def _with_the_documents_prefix(entry: dict[str, Any]) -> None:
    entry["query"]["prefix"] = entry["document"]["prefix"]


def _attended(entry: dict[str, Any]) -> None:
    entry["expansion"]["attended"] = True


def _another_token(entry: dict[str, Any]) -> None:
    entry["expansion"]["token"] = 0


@pytest.mark.parametrize(
    "mistake", [_without_prefix, _with_the_documents_prefix, _attended, _another_token]
)
def test_a_mistake_exceeds_the_tolerance(
    mistake: Callable[[dict[str, Any]], None],
    bundles: dict[str, Path],
    model: MultiVectorEmbedder,
    expected: dict[tuple[str, str], list[Any]],
    edited: Callable[..., Path],
) -> None:
    """A test of the tests."""
    assert model.info.late_interaction is not None
    entry = asdict(model.info.late_interaction)
    mistake(entry)
    with MultiVectorEmbedder.load(
        edited(bundles["unseen"], late_interaction=entry), threads=2
    ) as mutant:
        found = mutant.embed(SENTENCES, role="query")
    assert error(found, expected["unseen", "query"][: len(SENTENCES)]) > 10 * TOLERANCE


def test_a_neighbours_tokens_exceed_the_tolerance(
    model: MultiVectorEmbedder,
    expected: dict[tuple[str, str], list[Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unattended_tokens = feeds.unattended_tokens

    def seeing_the_neighbour(*arguments: Any) -> Any:
        order, inputs = unattended_tokens(*arguments)
        sequences = inputs["cu_seqlens"].size - 1
        inputs["seen"][:, 1] = (inputs["seen"][:, 1] + 1) % sequences
        return order, inputs

    monkeypatch.setattr(feeds, "unattended_tokens", seeing_the_neighbour)
    found = model.embed(SENTENCES, role="query")
    assert error(found, expected["unseen", "query"][: len(SENTENCES)]) > 10 * TOLERANCE


@pytest.mark.parametrize("name", ["unseen", "attended"])
def test_documents_are_ranked_as_the_library_scores_them(
    name: str,
    bundles: dict[str, Path],
    oracles: dict[str, MultiVectorEncoder],
    expected: dict[tuple[str, str], list[Any]],
) -> None:
    scores = oracles[name].similarity(expected[name, "query"][:1], expected[name, "document"])[0]
    order = np.argsort(-scores.numpy(), kind="stable")
    with MultiVectorEmbedder.load(bundles[name], threads=2) as model:
        found = model.rerank(ALL[0], ALL, overflow="truncate")
        best = model.rerank(ALL[0], ALL, top_k=3, overflow="truncate")
    assert found[:3] == best
    assert [result.document for result in found] == [ALL[result.index] for result in found]
    scale = float(scores.abs().max())
    np.testing.assert_allclose([r.score for r in found], scores[order], atol=TOLERANCE * scale)
    np.testing.assert_allclose(
        [r.score for r in found], [scores[r.index] for r in found], atol=1e-3
    )


def test_a_document_without_vectors_is_below_all_others() -> None:
    query, document = np.eye(3, DIM, dtype=np.float32), np.zeros((0, DIM), np.float32)
    assert maxsim(query, document) == -np.inf
    assert maxsim(query, -query) == 0.0


@pytest.mark.parametrize(
    ("documents", "options", "message"),
    [
        ("a", {}, "documents.*str"),
        (None, {}, "documents.*NoneType"),
        (["a", ("b", "c")], {}, "Document 1 .*tuple"),
        (["a"], {"top_k": 0}, "top_k.*0"),
    ],
)
def test_what_cannot_be_ranked_is_refused(
    documents: Any, options: dict[str, Any], message: str, model: MultiVectorEmbedder
) -> None:
    with pytest.raises(InputError, match=message):
        model.rerank("a", documents, **options)


def test_documents_may_come_from_an_iterator(model: MultiVectorEmbedder) -> None:
    assert model.rerank("a", iter(["a", "b"])) == model.rerank("a", ["a", "b"])  # type: ignore[arg-type]


def test_an_empty_text_has_vectors_too(model: MultiVectorEmbedder) -> None:
    assert model.embed("", role="query").shape == (PYLATE["query_length"], DIM)
    assert model.embed("", role="document").shape == (3, DIM)  # [CLS], the prefix and [SEP]
    assert model.embed([], role="document") == []


def test_ids_are_run_without_roles(model: MultiVectorEmbedder) -> None:
    """The graph itself: no prefix, no expansion."""
    first, second = model.run([[1, 7, 8, 2], [1, 2]])
    assert first.shape == (4, DIM)
    assert second.shape == (2, DIM)


@pytest.mark.parametrize(
    ("texts", "role", "message"),
    [
        (["a"], "passage", "role.*passage.*query, document"),
        ([("a", "b")], "query", "Text 0 .*tuple"),
        (["a", 1], "query", "Text 1 .*int"),
        (["a", "the river " * 40], "query", "Text 1 has 85 tokens.*40"),
        ([LONG_TEXT], "document", "Text 0 has .* tokens.*300"),
    ],
)
def test_what_cannot_be_embedded_is_refused(
    texts: list[Any], role: str, message: str, model: MultiVectorEmbedder
) -> None:
    with pytest.raises(InputError, match=message):
        model.embed(texts, role=role)


def test_the_manifest_says_how_texts_become_tokens(bundles: dict[str, Path]) -> None:
    manifest = json.loads((bundles["attended"] / "manifest.json").read_text())
    assert manifest["task"] == "multi-vector"
    terms = {role: manifest["late_interaction"][role] for role in ROLES}
    assert {role: entry["prompt"] for role, entry in terms.items()} == PREFIXES
    assert [entry["length"] for entry in terms.values()] == [24, 48]
    assert manifest["late_interaction"]["expansion"] == {
        "token": 3,
        "length": 16,
        "attended": True,
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda entry: entry["query"].pop("length"), "length"),
        (lambda entry: entry["query"].update(length=0), "late_interaction.query.length.*0"),
        (lambda entry: entry["query"].update(prefix=502), "late_interaction.query.prefix.*502"),
        (
            lambda entry: entry["document"].update(skipped=[-1]),
            "document.skipped.*-1",
        ),
        (lambda entry: entry["document"].update(prompt=3), "late_interaction.document.prompt.*3"),
        (
            lambda entry: entry["expansion"].update(length=5000),
            "expansion.length.*5000",
        ),
        (
            lambda entry: entry["expansion"].update(attended=1),
            "expansion.attended.*1",
        ),
        (lambda entry: entry.update(mean=None), "late_interaction.mean.*None"),
    ],
)
def test_a_damaged_manifest_is_refused(
    change: Callable[[dict[str, Any]], Any],
    message: str,
    bundles: dict[str, Path],
    model: MultiVectorEmbedder,
    edited: Callable[..., Path],
) -> None:
    assert model.info.late_interaction is not None
    entry = asdict(model.info.late_interaction)
    change(entry)
    with pytest.raises(BundleError, match=message):
        mbert.load(edited(bundles["unseen"], late_interaction=entry))


def test_what_a_later_version_adds_is_no_obstacle(model: MultiVectorEmbedder) -> None:
    settings, info = model.info.late_interaction, model.info
    assert settings is not None
    entry = asdict(settings)
    entry["expansion"]["added"] = entry["query"]["added"] = entry["added"] = 1
    assert MultiVectorSettings.parse(entry, info.vocab_size, info.limits) == settings


def test_inspection_tells_the_roles(bundles: dict[str, Path]) -> None:
    def inspect(name: str) -> dict[str, str]:
        result = CliRunner().invoke(main, ["inspect", str(bundles[name])])
        assert result.exit_code == 0, result.output
        rows = (line.split(None, 1) for line in result.stdout.splitlines())
        return {row[0]: row[1] for row in rows if row[0] in ROLES}

    shown = inspect("unseen")
    assert shown["query"].endswith("expanded to 40, not attended to")
    assert shown["document"].startswith("up to 300 tokens, prefix")
    assert inspect("attended")["query"].startswith("up to 24 tokens, after the prompt '[Q] '")


def test_the_command_prints_them(bundles: dict[str, Path], model: MultiVectorEmbedder) -> None:
    def run(*arguments: str) -> str:
        result = CliRunner().invoke(main, ["run", str(bundles["unseen"]), *arguments])
        assert result.exit_code == 0, result.output
        return result.stdout

    assert run("--text", "a river").splitlines()[1] == "  5 vectors of 16 dimensions"
    line = json.loads(run("--role", "query", "--json", "--text", "a river"))
    expected = model.embed("a river", role="query")
    np.testing.assert_array_equal(np.array(line["embeddings"], np.float32), expected)
