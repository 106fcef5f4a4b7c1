"""Embedding settings and longest texts of sentence-transformers checkpoints."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from sentence_transformers.sentence_transformer import modules

from mbert.errors import CheckpointError
from mbert.export.checkpoint import open_checkpoint
from mbert.export.checkpoint.embedding_settings import embedding_settings
from mbert.export.checkpoint.sentence_settings import longest_text
from support.checkpoints import SMALL
from support.sentence import (
    load_sentence_transformer,
    save_sentence_transformer,
    write_modules,
)

WIDTH = SMALL["hidden_size"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pooling, Dense and LayerNorm; do not change it, copy it."""
    return save_sentence_transformer(
        tmp_path_factory.mktemp("saved"),
        modules.Pooling(WIDTH, "mean"),
        modules.Dense(WIDTH, 8),
        modules.LayerNorm(8),
    )


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "folder"))


def edit(path: Path, **changes: Any) -> None:
    settings = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({k: v for k, v in settings.items() if v != "absent"}))


def test_the_settings_are_those_of_the_folder(tmp_path: Path) -> None:
    folder = save_sentence_transformer(
        tmp_path,
        modules.Pooling(WIDTH, "mean"),
        modules.Normalize(),
        modules.Dropout(0.1),
        prompts={"query": "query: ", "code": "code: "},
        default_prompt_name="code",
        similarity_fn_name="dot",
        truncate_dim=16,
    )
    checkpoint = open_checkpoint(folder)
    found = embedding_settings(folder, checkpoint.modules, "cosine")
    assert found.prompts == {"query": "query: ", "document": "", "code": "code: "}
    assert (found.default_prompt, found.similarity, found.dimensions) == ("code", "dot", 16)
    assert found.normalized


def test_without_settings_nothing_is_put_in_front(saved: Path, tmp_path: Path) -> None:
    found = embedding_settings(tmp_path, open_checkpoint(saved).modules, "cosine")
    assert found.prompts == {"query": "", "document": ""}
    assert (found.default_prompt, found.similarity, found.dimensions) == (None, "cosine", None)
    assert not found.normalized


@pytest.mark.parametrize(
    ("names", "normalized"),
    [
        ({}, True),
        ({"module_input_name": "token_embeddings"}, False),
        ({"module_output_name": "aside"}, False),
    ],
)
def test_only_the_texts_own_vector_is_normalized(
    folder: Path, names: dict[str, str], normalized: bool
) -> None:
    write_modules(folder, "Transformer", "Pooling", "Normalize", Normalize=names)
    assert (
        embedding_settings(folder, open_checkpoint(folder).modules, "cosine").normalized
        == normalized
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prompts": ["query: "]}, "prompts is"),
        ({"prompts": {"query": 1}}, "prompts is"),
        ({"prompts": {"a": ""}, "default_prompt_name": "b"}, "default_prompt_name is 'b'"),
        ({"default_prompt_name": ["query"]}, "default_prompt_name is"),
        ({"similarity_fn_name": "angle"}, "similarity_fn_name is 'angle'"),
        ({"truncate_dim": 0}, "truncate_dim is 0"),
        ({"truncate_dim": True}, "truncate_dim is True"),
        ({"max_active_dims": 0}, "max_active_dims is 0"),
        ([], "config_sentence_transformers"),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    settings: Any, message: str, tmp_path: Path
) -> None:
    (tmp_path / "config_sentence_transformers.json").write_text(json.dumps(settings))
    with pytest.raises(CheckpointError, match=message):
        embedding_settings(tmp_path, (), "cosine")


@pytest.mark.parametrize(
    ("transformer", "tokenizer", "expected"),
    [
        (96, 50, 96),  # the folder's own word first
        (None, 50, 50),
        (None, 10**30, 1024),  # the tokenizer knows no end
        (None, "absent", 1024),
        (4096, 50, 1024),
    ],
)
def test_texts_are_cut_where_the_library_cuts_them(
    folder: Path, transformer: int | None, tokenizer: Any, expected: int
) -> None:
    edit(folder / "sentence_bert_config.json", max_seq_length=transformer or "absent")
    edit(folder / "tokenizer_config.json", model_max_length=tokenizer)
    checkpoint = open_checkpoint(folder)
    assert longest_text(folder, checkpoint.config, checkpoint.modules) == expected
    if expected < SMALL["max_position_embeddings"]:
        assert load_sentence_transformer(folder).max_seq_length == expected


@pytest.mark.parametrize("value", [0, -1, "128", True, [1]])
def test_a_length_that_is_none_is_refused(folder: Path, value: Any) -> None:
    edit(folder / "sentence_bert_config.json", max_seq_length=value)
    checkpoint = open_checkpoint(folder)
    with pytest.raises(CheckpointError, match=r"sentence_bert_config\.json: max_seq_length is"):
        longest_text(folder, checkpoint.config, checkpoint.modules)
