"""Licence, special tokens and pooling, from the files beside the weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mbert.errors import CheckpointError
from mbert.model.metadata import license_of, pooling_of, special_tokens_of


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


def modules(*kinds: str, prefix: str = "sentence_transformers.models.") -> list[dict[str, Any]]:
    return [
        {
            "idx": i,
            "name": str(i),
            "path": "" if kind == "Transformer" else f"{i}_{kind}",
            "type": prefix + kind,
        }
        for i, kind in enumerate(kinds)
    ]


def test_a_folder_without_modules_gets_the_mean(tmp_path: Path) -> None:
    assert pooling_of(tmp_path) == "mean"


FLAGS = {
    "pooling_mode_cls_token": False,
    "pooling_mode_mean_tokens": False,
    "pooling_mode_max_tokens": False,
    "pooling_mode_mean_sqrt_len_tokens": False,
    "pooling_mode_weightedmean_tokens": False,
    "pooling_mode_lasttoken": False,
    "word_embedding_dimension": 64,
    "include_prompt": True,
}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({**FLAGS, "pooling_mode_cls_token": True}, "cls"),
        ({**FLAGS, "pooling_mode_mean_tokens": True}, "mean"),
        ({"pooling_mode_cls_token": True}, "cls"),
        ({**FLAGS, "pooling_mode_max_tokens": True}, None),
        ({**FLAGS, "pooling_mode_lasttoken": True}, None),
        # Two modes are concatenated: a vector that mbert does not make.
        ({**FLAGS, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}, None),
        (FLAGS, None),
        ({}, None),
        ({"pooling_mode": "cls", "word_embedding_dimension": 64}, "cls"),
        ({"pooling_mode": "mean"}, "mean"),
        ({"pooling_mode": "lasttoken"}, None),
        ({"pooling_mode": ["cls", "mean"]}, None),
    ],
)
def test_the_pooling_is_the_mode_of_the_pooling_module(
    tmp_path: Path, settings: dict[str, Any], expected: str | None
) -> None:
    write(tmp_path, "modules.json", modules("Transformer", "Pooling"))
    write(tmp_path, "1_Pooling/config.json", settings)
    assert pooling_of(tmp_path) == expected


@pytest.mark.parametrize("prefix", ["sentence_transformers.models.", "some.other.place.", ""])
def test_a_normalize_module_changes_no_pooling(tmp_path: Path, prefix: str) -> None:
    listed = modules("Transformer", "Pooling", "Normalize", prefix=prefix)
    write(tmp_path, "modules.json", listed)
    write(tmp_path, "1_Pooling/config.json", {"pooling_mode_cls_token": True})
    assert pooling_of(tmp_path) == "cls"


@pytest.mark.parametrize(
    "kinds",
    [
        ("Transformer", "Pooling", "Dense"),
        ("Transformer", "Pooling", "Dense", "Normalize"),
        ("Transformer",),
        ("Pooling", "Transformer"),
        ("Transformer", "WeightedLayerPooling", "Pooling"),
        ("Transformer", "Pooling", "Pooling"),
        (),
    ],
)
def test_modules_that_do_more_than_pool_give_none(tmp_path: Path, kinds: tuple[str, ...]) -> None:
    write(tmp_path, "modules.json", modules(*kinds))
    for i, kind in enumerate(kinds):
        write(tmp_path, f"{i}_{kind}/config.json", {"pooling_mode_mean_tokens": True})
    assert pooling_of(tmp_path) is None


@pytest.mark.parametrize(
    "contents", [b"{", b"{}", b'"Pooling"', b"[1, 2]", b'["Transformer", "Pooling"]', b"\xff"]
)
def test_a_damaged_modules_file_is_refused(tmp_path: Path, contents: bytes) -> None:
    (tmp_path / "modules.json").write_bytes(contents)
    with pytest.raises(CheckpointError, match=r"modules\.json"):
        pooling_of(tmp_path)


@pytest.mark.parametrize("contents", [b"{", b"[]"])
def test_a_damaged_pooling_config_is_refused(tmp_path: Path, contents: bytes) -> None:
    write(tmp_path, "modules.json", modules("Transformer", "Pooling"))
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_bytes(contents)
    with pytest.raises(CheckpointError, match="1_Pooling"):
        pooling_of(tmp_path)
