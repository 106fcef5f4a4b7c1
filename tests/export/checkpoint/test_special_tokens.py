"""Special tokens, from the settings beside tokenizer.json."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mbert.errors import CheckpointError
from mbert.export.checkpoint.special_tokens import special_tokens_of


def write(folder: Path, name: str, contents: object) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(contents), encoding="utf-8")


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
