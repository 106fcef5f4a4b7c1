"""LangChain's Embeddings on a bundle."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import InMemoryVectorStore

import mbert
from mbert.adapters.langchain import MbertEmbeddings
from mbert.errors import InputError
from support.text import SENTENCES

TEXTS = [*SENTENCES, "", "river " * 500]


@pytest.fixture(scope="module")
def embeddings(bundle: Path) -> MbertEmbeddings:
    return MbertEmbeddings(bundle, threads=2)


def test_documents_and_queries_have_their_prompts(embeddings: MbertEmbeddings, oracle: Any) -> None:
    assert isinstance(embeddings, Embeddings)
    documents = embeddings.embed_documents(TEXTS)
    assert all(type(value) is float for vector in documents for value in vector)
    np.testing.assert_allclose(documents, oracle.encode(TEXTS, prompt_name="passage"), atol=1e-4)
    query = embeddings.embed_query(SENTENCES[0])
    np.testing.assert_allclose(query, oracle.encode_query(SENTENCES[0]), atol=1e-4)
    assert embeddings.embed_documents([]) == []


def test_prompts_can_be_chosen(model: mbert.Embedder, oracle: Any) -> None:
    chosen = MbertEmbeddings(model, query_prompt="passage", document_prompt="mine: ")
    np.testing.assert_allclose(
        chosen.embed_query("a"), oracle.encode("a", prompt_name="passage"), atol=1e-4
    )
    np.testing.assert_allclose(
        chosen.embed_documents(["a"]), oracle.encode(["a"], prompt="mine: "), atol=1e-4
    )
    none = MbertEmbeddings(model, query_prompt="", document_prompt="")
    for found in (none.embed_query("a"), none.embed_documents(["a"])[0]):
        np.testing.assert_allclose(found, oracle.encode("a", prompt=""), atol=1e-4)


def test_long_texts_are_cut_chunked_or_refused(model: mbert.Embedder) -> None:
    long = "the river " * 400
    chunked = MbertEmbeddings(model, document_prompt="", overflow="window").embed_documents([long])
    expected = model.embed([long], prompt="", overflow="window")
    np.testing.assert_allclose(chunked, expected, atol=1e-6)
    with pytest.raises(InputError, match="Text 0 has"):
        MbertEmbeddings(model, overflow="error").embed_query(long)


@pytest.mark.parametrize("option", [{"threads": 2}, {"device": "cpu"}])
def test_a_loaded_model_takes_no_options_of_loading(
    model: mbert.Embedder, option: dict[str, Any]
) -> None:
    ((name, value),) = option.items()
    with pytest.raises(InputError, match=rf"{name}.*{value}.*loaded already"):
        MbertEmbeddings(model, **option)


def test_the_asynchronous_methods_agree(embeddings: MbertEmbeddings) -> None:
    async def both() -> tuple[list[float], list[list[float]]]:
        return await asyncio.gather(
            embeddings.aembed_query("a"), embeddings.aembed_documents(TEXTS)
        )

    query, documents = asyncio.run(both())
    np.testing.assert_allclose(query, embeddings.embed_query("a"), atol=1e-6)
    np.testing.assert_allclose(documents, embeddings.embed_documents(TEXTS), atol=1e-6)


def test_a_vector_store_finds_a_text(model: mbert.Embedder) -> None:
    same_prompt = MbertEmbeddings(model, query_prompt="", document_prompt="")
    store = InMemoryVectorStore(same_prompt)
    store.add_texts(list(SENTENCES))
    (found,) = store.similarity_search(SENTENCES[3], k=1)
    assert found.page_content == SENTENCES[3]
