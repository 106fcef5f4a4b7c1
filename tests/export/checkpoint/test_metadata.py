"""Licence, special tokens and pooling, from the files beside the weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mbert.errors import CheckpointError
from mbert.export.checkpoint.model_card import license_of
from mbert.export.checkpoint.modules_json import read_modules
from mbert.export.checkpoint.special_tokens import special_tokens_of
from mbert.export.tasks.feature_extraction import pooling_of
from support.sentence import write_modules


def write(folder: Path, name: str, contents: object) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(contents), encoding="utf-8")


# ---- licence


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        ("---\nlicense: apache-2.0\n---\n# A model\n", "apache-2.0"),
        ("---\nlanguage: en\nlicense:   mit\ntags: [a]\n---\n", "mit"),
        ("---\r\nlicense: mit\r\n---\r\n", "mit"),
        ("---\nlicense: mit # checked\n---\n", "mit"),
        ('---\nlicense: "mit"\n---\n', "mit"),
        ("---\nlicense: 'mit'\n---\n", "mit"),
        # Several licences, none, and texts that only look like one.
        ("---\nlicense:\n- mit\n- apache-2.0\n---\n", None),
        ("---\nlicense:\nlanguage: en\n---\n", None),
        ("---\nlanguage: en\n---\nlicense: mit\n", None),
        ("license: mit\n", None),
        ("---\nlicense_name: own\n---\n", None),
        ("", None),
    ],
)
def test_the_licence_is_what_the_front_matter_states(
    tmp_path: Path, card: str, expected: str | None
) -> None:
    (tmp_path / "README.md").write_bytes(card.encode())
    assert license_of(tmp_path) == expected


def test_no_card_or_one_that_is_no_text_states_no_licence(tmp_path: Path) -> None:
    assert license_of(tmp_path) is None
    (tmp_path / "README.md").write_bytes(b"---\nlicense: \xff\xfe\n---\n")
    assert license_of(tmp_path) is None


# ---- special tokens


def test_special_tokens_are_strings_or_objects(tmp_path: Path) -> None:
    contents = {
        "cls_token": "[CLS]",
        "sep_token": {"content": "[SEP]", "lstrip": False},
        "mask_token": {"content": "[MASK]", "lstrip": True},
        "pad_token": None,
        "unk_token": "[UNK]",
        "bos_token": "<s>",
    }
    write(tmp_path, "tokenizer_config.json", contents)
    assert special_tokens_of(tmp_path) == {
        "cls": "[CLS]",
        "sep": "[SEP]",
        "mask": "[MASK]",
        "unk": "[UNK]",
    }


def test_the_tokenizer_config_decides_over_the_map(tmp_path: Path) -> None:
    write(tmp_path, "special_tokens_map.json", {"cls_token": "<s>", "mask_token": "<mask>"})
    assert special_tokens_of(tmp_path) == {"cls": "<s>", "mask": "<mask>"}
    write(tmp_path, "tokenizer_config.json", {"cls_token": "[CLS]"})
    assert special_tokens_of(tmp_path) == {"cls": "[CLS]", "mask": "<mask>"}


def test_no_tokenizer_files_name_no_special_tokens(tmp_path: Path) -> None:
    assert special_tokens_of(tmp_path) == {}


@pytest.mark.parametrize("name", ["special_tokens_map.json", "tokenizer_config.json"])
@pytest.mark.parametrize(
    ("contents", "message"),
    [(b"{", "cannot be read as JSON"), (b"\xff", "cannot be read"), (b"[]", "holds a JSON list")],
)
def test_damaged_tokenizer_files_are_refused(
    tmp_path: Path, name: str, contents: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(contents)
    with pytest.raises(CheckpointError, match=message) as raised:
        special_tokens_of(tmp_path)
    assert name in str(raised.value)


# ---- pooling


def pooling(tmp_path: Path, *kinds: str, **settings: Any) -> str | None:
    write_modules(tmp_path, *kinds, **{"Pooling": settings})
    return pooling_of(read_modules(tmp_path))


def test_a_folder_without_modules_gets_the_mean() -> None:
    assert pooling_of(()) == "mean"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode": "mean"}, "mean"),
        ({}, "mean"),
        # What hidden states alone do not give.
        ({"pooling_mode": "max"}, None),
        ({"pooling_mode": ["cls", "mean"]}, None),
        ({"pooling_mode": "mean", "include_prompt": False}, None),
    ],
)
def test_the_pooling_is_the_one_mode_of_the_pooling_module(
    tmp_path: Path, settings: dict[str, Any], expected: str | None
) -> None:
    assert pooling(tmp_path, "Transformer", "Pooling", **settings) == expected


def test_modules_that_change_no_direction_change_no_pooling(tmp_path: Path) -> None:
    kinds = ("Transformer", "Pooling", "Dropout", "Normalize")
    assert pooling(tmp_path, *kinds, pooling_mode="cls") == "cls"


def test_a_norm_of_tokens_is_no_matter_of_length(tmp_path: Path) -> None:
    names = {"module_input_name": "token_embeddings"}
    write_modules(tmp_path, "Transformer", "Normalize", "Pooling", Normalize=names)
    assert pooling_of(read_modules(tmp_path)) is None


@pytest.mark.parametrize(
    "kinds",
    [
        ("Transformer", "Pooling", "Dense", "Normalize"),
        ("Transformer",),
        ("Transformer", "WeightedLayerPooling", "Pooling"),
        ("Transformer", "Pooling", "Pooling"),
        ("Transformer", "own.code.Pooling"),
    ],
)
def test_modules_that_do_more_than_pool_give_none(tmp_path: Path, kinds: tuple[str, ...]) -> None:
    assert pooling(tmp_path, *kinds, pooling_mode="mean") is None
