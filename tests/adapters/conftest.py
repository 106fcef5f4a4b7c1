"""One sentence-transformers folder and its bundle."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sentence_transformers.sentence_transformer import modules

import mbert
from support.export_cache import ExportCache
from support.sentence import load_sentence_transformer, save_sentence_transformer

PROMPTS = {"query": "search query: ", "passage": "passage: ", "plain": ""}


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_sentence_transformer(
        tmp_path_factory.mktemp("adapters") / "folder",
        modules.Pooling(64, "mean"),
        modules.Dense(64, 48),
        prompts=PROMPTS,
        default_prompt_name="plain",
        similarity_fn_name="dot",
    )


@pytest.fixture(scope="session")
def oracle(folder: Path) -> Any:
    return load_sentence_transformer(folder)


@pytest.fixture(scope="session")
def bundle(folder: Path, exports: ExportCache) -> Path:
    return exports(folder)


@pytest.fixture(scope="session")
def model(bundle: Path) -> Iterator[mbert.Embedder]:
    with mbert.Embedder.load(bundle) as loaded:
        yield loaded
