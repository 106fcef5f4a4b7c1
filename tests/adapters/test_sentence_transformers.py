"""Code written for sentence-transformers gives the same on a bundle."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mbert
from mbert.adapters import SentenceTransformer
from mbert.errors import InputError
from support.text import SENTENCES

TEXTS = [*SENTENCES, "", "  \n", "Rzeka 🌊 河 النهر", "river " * 500, "a\x07b"]


@pytest.fixture(scope="session")
def ours(model: mbert.Embedder) -> SentenceTransformer:
    return SentenceTransformer(model)


def same(found: Any, expected: Any, tolerance: float = 1e-4) -> None:
    assert type(found) is type(expected)
    if isinstance(expected, list):
        assert len(found) == len(expected)
        for ours, theirs in zip(found, expected, strict=True):
            same(ours, theirs, tolerance)
        return
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    if expected.dtype in (np.float32, torch.float32):
        np.testing.assert_allclose(np.asarray(found), np.asarray(expected), atol=tolerance)
    else:  # a value on the border of two steps may fall on either side
        difference = np.asarray(found).astype(int) - np.asarray(expected).astype(int)
        assert np.abs(difference).max() <= tolerance


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"prompt_name": "query", "batch_size": 3},
        {"prompt": "any text: ", "prompt_name": "query"},
        {"prompt": ""},
        {"prompt": "query"},
        {"prompt": "word"},
        {"normalize_embeddings": True},
        {"truncate_dim": 16},
        {"truncate_dim": 16, "normalize_embeddings": True},
        {"truncate_dim": 500},
        {"convert_to_tensor": True},
        {"convert_to_numpy": False},
        {"show_progress_bar": False, "output_value": "sentence_embedding"},
    ],
    ids=str,
)
@pytest.mark.parametrize("sentences", [TEXTS, SENTENCES[0]], ids=["several", "one"])
def test_encode_gives_the_librarys_vectors(
    ours: SentenceTransformer, oracle: Any, sentences: Any, options: dict[str, Any]
) -> None:
    same(ours.encode(sentences, **options), oracle.encode(sentences, **options))


@pytest.mark.parametrize("precision", ["int8", "uint8", "binary", "ubinary"])
def test_encode_quantises_as_the_library(
    ours: SentenceTransformer, oracle: Any, precision: str
) -> None:
    found = ours.encode(TEXTS, precision=precision)
    expected = oracle.encode(TEXTS, precision=precision)
    if precision.endswith("binary"):  # what is far from zero has one sign
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    else:
        same(found, expected, tolerance=1)


def test_roles_have_their_prompts(ours: SentenceTransformer, oracle: Any) -> None:
    same(ours.encode_query(TEXTS), oracle.encode_query(TEXTS))
    same(ours.encode_document(TEXTS), oracle.encode_document(TEXTS))
    chosen = {"prompt": "mine: ", "normalize_embeddings": True}
    same(ours.encode_query(TEXTS, **chosen), oracle.encode_query(TEXTS, **chosen))


def test_nothing_gives_nothing(ours: SentenceTransformer, oracle: Any) -> None:
    assert ours.encode([]).shape == oracle.encode([]).shape  # type: ignore[union-attr]


def test_an_array_of_texts_is_taken(ours: SentenceTransformer, oracle: Any) -> None:
    same(ours.encode(np.array(SENTENCES)), oracle.encode(np.array(SENTENCES)))


def test_similarities_are_the_librarys(ours: SentenceTransformer, oracle: Any) -> None:
    queries, documents = oracle.encode(TEXTS[:2]), oracle.encode(TEXTS)
    expected = oracle.similarity(queries, documents)
    assert ours.similarity_fn_name == oracle.similarity_fn_name == "dot"
    found = ours.similarity(queries, documents)
    assert isinstance(found, np.ndarray)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4)
    for tensors in (torch.from_numpy(queries), list(torch.from_numpy(queries))):
        scores = ours.similarity(tensors, torch.from_numpy(documents))
        assert isinstance(scores, torch.Tensor)
        torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-4)


def test_similarities_of_pairs_are_the_librarys(ours: SentenceTransformer, oracle: Any) -> None:
    some, others = oracle.encode(TEXTS[:4]), oracle.encode(TEXTS[1:5])
    expected = oracle.similarity_pairwise(some, others)
    np.testing.assert_allclose(ours.similarity_pairwise(some, others), expected, rtol=1e-4)
    scores = ours.similarity_pairwise(torch.from_numpy(some), torch.from_numpy(others))
    torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-4)


def test_what_the_model_says_of_itself(ours: SentenceTransformer, oracle: Any) -> None:
    assert ours.get_embedding_dimension() == oracle.get_embedding_dimension() == 48
    assert ours.get_sentence_embedding_dimension() == 48
    assert ours.max_seq_length == oracle.max_seq_length == 128
    assert ours.prompts.items() <= oracle.prompts.items()
    assert ours.default_prompt_name == oracle.default_prompt_name
    ours.max_seq_length = 128
    with pytest.raises(InputError, match="--max-sequence-length 64"):
        ours.max_seq_length = 64


def test_the_constructor_changes_defaults(model: mbert.Embedder, oracle: Any) -> None:
    other = SentenceTransformer(
        model, prompts={"mine": "my prompt: "}, default_prompt_name="mine", truncate_dim=8
    )
    assert other.get_embedding_dimension() == 8
    same(other.encode(TEXTS), oracle.encode(TEXTS, prompt="my prompt: ", truncate_dim=8))
    same(
        other.encode(TEXTS, truncate_dim=12, prompt_name="query"),
        oracle.encode(TEXTS, prompt_name="query", truncate_dim=12),
    )
    short = SentenceTransformer(model, prompts={"short": "query"})
    same(short.encode(TEXTS, prompt_name="short"), oracle.encode(TEXTS, prompt="query"))
    with pytest.raises(InputError, match=r"prompt.*none.*query, "):
        SentenceTransformer(model, default_prompt_name="none")
    with pytest.raises(InputError, match=r"device.*cpu"):
        SentenceTransformer(model, device="cpu")
    SentenceTransformer(model, trust_remote_code=True, cache_folder="cache")
    with pytest.raises(InputError, match="revision, backend"):
        SentenceTransformer(model, revision="main", backend="onnx")


def test_a_folder_is_loaded(bundle: Path, ours: SentenceTransformer) -> None:
    loaded = SentenceTransformer(bundle, device="cpu")
    same(loaded.encode(TEXTS, device="cpu"), ours.encode(TEXTS, device="cpu"), tolerance=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output_value": "token_embeddings"}, "output_value.*token_embeddings"),
        ({"output_value": None}, "output_value.*None"),
        ({"precision": "float16"}, "float16"),
        ({"device": "cuda"}, "device.*cuda"),
        ({"pool": {}}, "pool.*{}"),
        ({"chunk_size": 10}, "chunk_size.*10"),
        ({"batch_size": 0}, "batch_size.*0"),
        ({"prompt": 3}, "prompt.*3"),
        ({"prompt_name": "unknown"}, "prompt.*unknown"),
        ({"truncate_dim": 0}, "dimensions.*0"),
    ],
)
def test_what_cannot_be_honoured_is_refused(
    ours: SentenceTransformer, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        ours.encode(TEXTS, **options)


def test_an_option_that_is_unknown_is_refused(ours: SentenceTransformer) -> None:
    with pytest.raises(TypeError, match="task"):
        ours.encode(TEXTS, task="query")  # type: ignore[call-arg]


def test_progress_follows_the_logger(
    ours: SentenceTransformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    embed = ours.model.embed
    monkeypatch.setattr(
        ours.model, "embed", lambda *args, **kw: asked.append(kw["progress"]) or embed(*args, **kw)
    )
    logger = logging.getLogger("mbert")
    monkeypatch.setattr(logger, "level", logging.INFO)
    logger.manager._clear_cache()  # type: ignore[attr-defined]
    ours.encode(["a"])
    monkeypatch.setattr(logger, "level", logging.WARNING)
    ours.encode(["a"])
    ours.encode(["a"], show_progress_bar=True)
    assert asked == [True, False, True]
