"""Multi-vector settings of PyLate and of sentence-transformers, and refusals."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

import mbert
from mbert.errors import CheckpointError, ExportError
from mbert.export.checkpoint import Checkpoint, open_checkpoint
from mbert.export.checkpoint.multi_vector_settings import (
    check_multi_vector_settings,
    multi_vector_settings,
)
from mbert.export.tasks import default_task, load_model
from mbert.model.families.query_expansion import ExpansionTokens
from mbert.model.heads.token_embeddings import ExpandedTokenEmbeddings
from mbert.runtime.manifest import Limits
from mbert.runtime.tasks.multi_vector import QueryExpansion
from support.retrieval import make_pylate
from support.sentence import write_modules

LIMITS = Limits(16384, 1024, 2048)
SETTINGS = "config_sentence_transformers.json"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pylate(tmp_path_factory.mktemp("pylate") / "checkpoint")


@pytest.fixture
def changed(folder: Path, tmp_path: Path) -> Any:
    """A checkpoint of the folder with other settings; its files are links, but for those."""

    def change(modules: list[Any] | None = None, **settings: Any) -> Checkpoint:
        for path in folder.iterdir():
            (tmp_path / path.name).symlink_to(path)
        if modules is not None:
            (tmp_path / "modules.json").unlink()
            write_modules(tmp_path, *modules)
        contents = json.loads((folder / SETTINGS).read_text())
        (tmp_path / SETTINGS).unlink()
        (tmp_path / SETTINGS).write_text(json.dumps({**contents, **settings}))
        return open_checkpoint(tmp_path)

    return change


def resolved(checkpoint: Checkpoint, mask: int | None = 3, limits: Limits = LIMITS) -> Any:
    folder, config, modules = checkpoint.folder, checkpoint.config, checkpoint.modules
    return multi_vector_settings(folder, config, modules, folder / "tokenizer.json", mask, limits)


def test_what_a_folder_leaves_out_is_pylates(folder: Path) -> None:
    checkpoint = open_checkpoint(folder)
    assert default_task(checkpoint) == "multi-vector"
    found = resolved(checkpoint)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert found.expansion == QueryExpansion(token=3, length=32, attended=False)
    assert (found.query.prefix, found.document.prefix) == tuple(
        tokenizer.token_to_id(prefix) for prefix in ("[Q] ", "[D] ")
    )
    assert (found.query.length, found.document.length) == (32, 180)
    assert found.query.skipped == ()
    assert {tokenizer.id_to_token(i) for i in found.document.skipped} >= set("!?.,;:-()[]{}'\"")
    assert isinstance(load_model(checkpoint, "multi-vector"), ExpandedTokenEmbeddings)


@pytest.mark.parametrize("mistake", [1, -1])
def test_a_window_that_is_off_by_one_shows(
    mistake: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A test of the tests: they hold the vectors of expansion tokens to 1e-4."""
    model = load_model(open_checkpoint(folder), "multi-vector")
    own, longest = 10, 32
    ids = np.random.default_rng(0).integers(5, 500, longest)
    batch = (
        ids,
        [0, own],
        [(0, position) for position in range(own, longest)],
        [(row, 0, row) for row in range(own)],
    )
    inputs = [torch.tensor(np.asarray(part), dtype=torch.int32) for part in batch]
    right = model(*inputs)
    attend = ExpansionTokens.attend

    def mistaken(
        self: ExpansionTokens, qkv: Any, rope: Any, heads: int, scale: float, window: int
    ) -> Any:
        return attend(self, qkv, rope, heads, scale, window + mistake if window >= 0 else window)

    monkeypatch.setattr(ExpansionTokens, "attend", mistaken)
    wrong = model(*inputs)
    assert torch.equal(wrong[:own], right[:own])
    assert (wrong - right).abs().max() > 1e-3


def test_settings_are_read(changed: Any) -> None:
    checkpoint = changed(
        query_prefix="",
        query_length=20,
        document_length=5000,
        do_query_expansion=False,
        skiplist_words=["the", "unheard"],
        prompts={"query": "search: "},
    )
    found = resolved(checkpoint)
    assert (found.expansion, found.query.prefix, found.query.prompt) == (None, None, "search: ")
    assert (found.query.length, found.document.length) == (20, LIMITS.max_sequence_length)
    assert len(found.document.skipped) <= 1  # a word that is no token is never met
    assert not isinstance(load_model(checkpoint, "multi-vector"), ExpandedTokenEmbeddings)


def test_an_expansion_that_is_attended_needs_no_inputs_of_its_own(changed: Any) -> None:
    checkpoint = changed(attend_to_expansion_tokens=True)
    assert resolved(checkpoint).expansion == QueryExpansion(3, 32, True)
    assert not isinstance(load_model(checkpoint, "multi-vector"), ExpandedTokenEmbeddings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"similarity_fn_name": "xtr"}, "similarity_fn_name is 'xtr'"),
        ({"query_prefix": "[X] "}, r"query_prefix is '\[X\] ', which is no token"),
        (
            {"query_length": 2000},
            "Queries are expanded to 2000 tokens; the bundle takes up to 1024",
        ),
        ({"query_length": 0}, "query_length of Transformer is 0"),
        ({"document_length": True}, "document_length of Transformer is True"),
        ({"attend_to_expansion_tokens": "no"}, "query_expansion of Transformer"),
        ({"skiplist_words": [1]}, "skiplist_words of MultiVectorMask"),
        ({"prompts": {"query": 3}}, "the prompt query is 3"),
        ({"prompts": ["a"]}, r"prompts is \['a'\]"),
        ({"query_prefix": 3}, "query_prefix of Transformer is 3"),
        ({"do_query_expansion": 1, "attend_to_expansion_tokens": 0}, "query_expansion of Transf"),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    settings: dict[str, Any], message: str, changed: Any
) -> None:
    with pytest.raises(CheckpointError, match=message):
        resolved(changed(**settings))


def test_an_expansion_needs_a_mask_token(folder: Path) -> None:
    with pytest.raises(CheckpointError, match="mask_token"):
        resolved(open_checkpoint(folder), mask=None)


def test_images_are_refused(folder: Path) -> None:
    *others, mask, norm = open_checkpoint(folder).modules
    kept = replace(mask, settings={"keep_only_token_ids": [7]})
    with pytest.raises(CheckpointError, match="keep_only_token_ids of MultiVectorMask"):
        check_multi_vector_settings([*others, kept, norm])


@pytest.mark.parametrize(
    ("task", "modules", "message"),
    [
        ("multi-vector", ["Transformer", "Pooling"], "Pooling"),
        ("multi-vector", ["Transformer", "own.Attention"], "own.Attention"),
        ("sparse-embedding", ["Transformer", "Pooling"], "transformer_task of Transformer is None"),
    ],
)
def test_modules_of_another_kind_are_refused(
    task: str, modules: list[str], message: str, changed: Any
) -> None:
    with pytest.raises(CheckpointError, match=message):
        load_model(changed(modules), task)


def test_multi_vector_needs_modules(small_checkpoint: Path) -> None:
    with pytest.raises(CheckpointError, match=r"modules\.json lists nothing"):
        load_model(open_checkpoint(small_checkpoint), "multi-vector")


def test_an_engine_that_is_not_fed_the_expansion_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="attend_to_expansion_tokens is false"):
        mbert.convert(folder, tmp_path / "bundle", gpu="l4", backend="tensorrt")
    assert not (tmp_path / "bundle").exists()
