"""Exported sentence-transformers folders against the library itself, on the same texts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import modules
from sentence_transformers.util import quantize_embeddings
from torch import nn

import mbert
from mbert.errors import BundleError, InputError
from mbert.runtime.cli import main
from mbert.runtime.feeds import counted_tokens
from support.checkpoints import SMALL
from support.pooling import POOLINGS
from support.sentence import load_sentence_transformer, save_sentence_transformer
from support.text import SENTENCES

WIDTH = SMALL["hidden_size"]
LONGEST = 96
PROMPTS = {"query": "bread and water: ", "passage": "river: "}
TOLERANCE = 1e-4

TEXTS = [
    *SENTENCES[:3],
    "",
    "   \t \n ",
    "Der Müller mahlt Mehl; Le fleuve a emporté le pont; Река вышла из берегов; 川が橋を流した。",
    "bread 🍞, river 🌊, family 👨‍👩‍👧‍👦, flag 🇳🇴",
    "הנהר עלה בלילה ולקח את הגשר הישן",
    "ارتفع النهر في الليل \u202bوأخذ الجسر\u202c القديم",
    "bread\x00\x01\x1b[31m\x7f\x85\u200b\ufeff river",
    "[MASK] and [SEP] typed by hand",
    " ".join(f"word{i}" for i in range(10_000)),
]

# Every module; every pooling. Dense and Normalize read and write the text's vector.
CHAINS: dict[str, list[Any]] = {
    "everything": [
        modules.Pooling(WIDTH, POOLINGS),
        modules.Dense(6 * WIDTH, 48, activation_function=nn.GELU()),
        modules.LayerNorm(48),
        modules.Dropout(0.3),
        modules.Dense(48, 32, bias=False, activation_function=nn.Tanh(), use_residual=True),
        modules.Normalize(),
    ],
    "prompt left out": [modules.Pooling(WIDTH, POOLINGS, include_prompt=False)],
}


@pytest.fixture(scope="module", params=CHAINS)
def both(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[mbert.Embedder, SentenceTransformer]]:
    """A bundle, and the library's own model of the same folder."""
    folder = tmp_path_factory.mktemp("sentence")
    settings = {"prompts": PROMPTS, "default_prompt_name": "passage", "max_seq_length": LONGEST}
    save_sentence_transformer(folder / "folder", *CHAINS[request.param], **settings)
    manifest = mbert.convert(folder / "folder", folder / "bundle")
    assert manifest.task == "sentence-similarity"
    assert manifest.limits.max_sequence_length == LONGEST
    with mbert.Embedder.load(folder / "bundle", threads=2) as model:
        yield model, load_sentence_transformer(folder / "folder")


@pytest.fixture(scope="module")
def cosine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[mbert.Embedder]:
    """A mean of length 1; nothing else."""
    folder = tmp_path_factory.mktemp("cosine")
    steps = (modules.Pooling(WIDTH, "mean"), modules.Normalize())
    save_sentence_transformer(folder / "folder", *steps, prompts=PROMPTS)
    mbert.convert(folder / "folder", folder / "bundle")
    with mbert.Embedder.load(folder / "bundle", threads=2) as model:
        yield model


def oracle_of(model: mbert.Embedder) -> SentenceTransformer:
    return load_sentence_transformer(model.context.folder.parent / "folder")


# ---- the same vectors


@pytest.mark.parametrize("prompt", [None, "query", "", "as a text: "])
def test_vectors_are_the_librarys(
    both: tuple[mbert.Embedder, SentenceTransformer], prompt: str | None
) -> None:
    model, oracle = both
    named = {"prompt_name": prompt} if prompt in PROMPTS else {"prompt": prompt}
    exact = oracle.encode(TEXTS, **named)
    found = model.embed(TEXTS, prompt=prompt, overflow="truncate")
    assert found.dtype == np.float32
    assert np.abs(found - exact).max() < TOLERANCE
    # A single text, and packed with others, in any order.
    alone = model.embed(TEXTS[0], prompt=prompt)
    assert alone.shape == exact.shape[1:]
    assert np.abs(alone - exact[0]).max() < TOLERANCE
    mirrored = model.embed(TEXTS[::-1], prompt=prompt, overflow="truncate")[::-1]
    assert np.abs(mirrored - exact).max() < TOLERANCE


def test_the_pooling_of_a_neighbours_token_is_seen(
    both: tuple[mbert.Embedder, SentenceTransformer],
) -> None:
    """The mutant that a test of packing has to see."""
    model, oracle = both
    sequences = model.tokenize(SENTENCES)
    offsets = np.cumsum([0, *map(len, sequences)])
    ids = np.concatenate(sequences)
    exact = oracle.encode(list(SENTENCES), prompt="")
    assert np.abs(model.run_packed(ids, offsets) - exact).max() < TOLERANCE
    assert np.abs(np.stack(model.run(sequences)) - exact).max() < TOLERANCE
    shifted = offsets.copy()
    shifted[1:-1] += 1
    assert np.abs(model.run_packed(ids, shifted) - exact).max() > 10 * TOLERANCE


def test_counted_rows_leave_the_prompt_out(
    both: tuple[mbert.Embedder, SentenceTransformer],
) -> None:
    model, _ = both
    names = {spec.name for spec in model.info.inputs}
    ids = model.tokenize([PROMPTS["query"] + text for text in SENTENCES])
    packed, offsets = np.concatenate(ids), np.cumsum([0, *map(len, ids)])
    if "counted_rows" not in names:
        with pytest.raises(InputError, match=r"counted_rows.*sentence-similarity"):
            model.run_packed(packed, offsets, counted_rows=np.arange(packed.size))
        return
    prompt = model.context.tokenizer.prompt_length(PROMPTS["query"])
    excluded = np.full(len(ids), prompt, np.int32)
    counted = counted_tokens(offsets.astype(np.int32), packed.size, excluded)
    expected = model.embed(SENTENCES, prompt="query")
    assert np.abs(model.run_packed(packed, offsets, **counted) - expected).max() < TOLERANCE
    assert np.abs(model.run_packed(packed, offsets) - expected).max() > 10 * TOLERANCE
    for wrong, message in (
        ({"counted_rows": counted["counted_rows"][1:]}, "counted_rows"),
        ({"counted_rows": counted["counted_rows"] + packed.size}, "counted_rows"),
        ({"counted_offsets": counted["counted_offsets"][::-1]}, "counted_offsets"),
        ({"counted_offsets": counted["counted_offsets"][1:]}, "counted_offsets"),
    ):
        with pytest.raises(InputError, match=message):
            model.run_packed(packed, offsets, **{**counted, **wrong})


def test_too_long_a_text_is_an_error_unless_it_may_be_cut(
    both: tuple[mbert.Embedder, SentenceTransformer],
) -> None:
    model, _ = both
    with pytest.raises(InputError, match=f"tokens.*{LONGEST}"):
        model.embed(TEXTS)
    chunked = model.embed([TEXTS[0], TEXTS[-1]], overflow="window", prompt="query")
    assert np.abs(chunked[0] - model.embed(TEXTS[0], prompt="query")).max() < TOLERANCE
    assert np.isfinite(chunked[1]).all()


def test_a_thousand_short_texts_are_packed(
    cosine: mbert.Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"{SENTENCES[i % 6][: 10 + i % 40]} {i}" for i in range(1000)]
    calls: list[tuple[int, int]] = []
    session = cosine.engine._current()

    class Counting:
        def run(self, feeds: dict[str, NDArray[np.int32]]) -> list[NDArray[Any]]:
            calls.append((feeds["input_ids"].size, int(feeds["cu_seqlens"][-1])))
            return session.run(feeds)

    monkeypatch.setattr(cosine.engine, "_session", Counting())
    found = cosine.embed(texts)
    computed, real = map(sum, zip(*calls, strict=True))
    assert real == sum(cosine.count_tokens(texts))
    assert computed <= 1.05 * real
    assert len(calls) <= 1.1 * real / 2048 + 1
    assert np.abs(found[:50] - oracle_of(cosine).encode(texts[:50])).max() < TOLERANCE


# ---- damaged bundles


@pytest.mark.parametrize(
    "changes",
    [
        {"prompts": None},
        {"prompts": ["query"]},
        {"prompts": {"query": 1}},
        {"default_prompt": "absent"},
        {"similarity": "angle"},
        {"dimensions": 0},
        {"active": 0},
        {"normalized": "yes"},
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(
    cosine: mbert.Embedder, edited: Callable[..., Path], changes: dict[str, Any]
) -> None:
    bundle = cosine.context.folder
    entry = json.loads((bundle / "manifest.json").read_text())["embedding"]
    with pytest.raises(BundleError, match=r"manifest\.json is damaged"):
        mbert.load(edited(bundle, embedding={**entry, **changes}))


# ---- options


def test_prompts_go_by_name_or_are_texts(cosine: mbert.Embedder) -> None:
    embed = cosine.embed
    assert np.array_equal(embed("a", prompt="query"), embed("a", prompt=PROMPTS["query"]))
    assert np.array_equal(embed("a"), embed("a", prompt="document"))  # known, and empty
    assert np.array_equal(embed([("a", "b")], prompt="x: "), embed([("x: a", "b")]))
    with pytest.raises(InputError, match=r"prompt.*3"):
        embed("a", prompt=3)
    assert embed([], dtype="binary").shape == (0, WIDTH // 8)
    with pytest.raises(InputError, match=r"prompt.*qurey.*query, document, passage"):
        embed("a", prompt="qurey")


@pytest.mark.parametrize("normalize", [None, True, False])
def test_dimensions_are_cut_before_lengths_are_set(
    cosine: mbert.Embedder, normalize: bool | None
) -> None:
    texts = list(SENTENCES)
    exact = oracle_of(cosine).encode(
        texts, truncate_dim=16, normalize_embeddings=normalize is not False
    )
    found = cosine.embed(texts, dimensions=16, normalize=normalize)
    assert np.abs(found - exact).max() < TOLERANCE
    for wrong in (0, WIDTH + 1, 8.0):
        with pytest.raises(InputError, match=f"dimensions.*{wrong}.*{WIDTH}"):
            cosine.embed(texts, dimensions=wrong)


def test_the_graph_pools_and_nobody_else(cosine: mbert.Embedder) -> None:
    with pytest.raises(InputError, match=r"pooling.*cls.*sentence-similarity"):
        cosine.embed("a", pooling="cls")


@pytest.mark.parametrize("output", ["float32", "int8", "uint8", "binary", "ubinary"])
def test_outputs_are_quantised_as_the_library_does(cosine: mbert.Embedder, output: str) -> None:
    texts = list(SENTENCES)
    vectors = cosine.embed(texts)
    found = cosine.embed(texts, dtype=output)
    exact = quantize_embeddings(vectors, output)
    assert (found.dtype, found.shape) == (exact.dtype, exact.shape)
    assert np.array_equal(found, exact)
    if output.endswith("int8"):
        ranges = np.stack((vectors.min(axis=0), vectors.max(axis=0)))
        for options in ({"ranges": ranges}, {"calibration": vectors}):
            assert np.array_equal(cosine.embed(texts, dtype=output, **options), exact)
            streamed = list(cosine.embed_iter(texts, look_ahead=2, dtype=output, **options))
            assert np.array_equal(np.stack(streamed), exact)
        with pytest.raises(InputError, match=f"dtype.*{output}.*ranges="):
            cosine.embed_iter(texts, dtype=output)


def test_similarity_is_the_checkpoints(cosine: mbert.Embedder) -> None:
    vectors = cosine.embed(list(SENTENCES))
    exact = oracle_of(cosine).similarity(vectors, vectors[:2]).numpy()
    assert cosine.info.embedding is not None
    assert cosine.info.embedding.similarity == "cosine"
    assert np.abs(cosine.similarity(vectors, vectors[:2]) - exact).max() < 1e-6


def test_the_command_takes_prompts_and_dimensions(cosine: mbert.Embedder) -> None:
    command = [str(cosine.context.folder), "--text", "a", "--json"]
    result = CliRunner().invoke(main, [*command, "--prompt", "query", "--dimensions", "8"])
    assert result.exit_code == 0, result.output
    expected = cosine.embed("a", prompt="query", dimensions=8)
    assert json.loads(result.output)["embedding"] == pytest.approx(expected.tolist(), abs=1e-6)
    result = CliRunner().invoke(main, [*command, "--pooling", "cls"])
    assert result.exit_code != 0
    assert "pooling" in result.output
    assert "sentence-similarity" in result.output
