"""The modules of modules.json, and refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mbert.errors import CheckpointError
from mbert.export.checkpoint.modules_json import read_modules
from support.sentence import LIBRARY, write_modules


def entry(**changes: Any) -> dict[str, Any]:
    return {"idx": 0, "name": "0", "path": "", "type": LIBRARY + "Transformer", **changes}


def refuses(folder: Path, contents: Any, message: str) -> None:
    (folder / "modules.json").write_text(json.dumps(contents))
    with pytest.raises(CheckpointError, match=message) as raised:
        read_modules(folder)
    assert "modules.json" in str(raised.value)


def test_no_file_lists_no_modules(tmp_path: Path) -> None:
    assert read_modules(tmp_path) == ()


@pytest.mark.parametrize("prefix", [LIBRARY, "sentence_transformers.base.modules.any.thing."])
def test_modules_come_in_order_with_their_settings(tmp_path: Path, prefix: str) -> None:
    write_modules(
        tmp_path,
        "Transformer",
        prefix + "Pooling",
        prefix + "Normalize",
        **{"Transformer": {"max_seq_length": 128}, prefix + "Pooling": {"pooling_mode": "cls"}},
    )
    found = [(spec.kind, spec.path, spec.config, spec.settings) for spec in read_modules(tmp_path)]
    assert found == [
        ("Transformer", "", "sentence_bert_config.json", {"max_seq_length": 128}),
        ("Pooling", "1_Pooling", "1_Pooling/config.json", {"pooling_mode": "cls"}),
        ("Normalize", "2_Normalize", "2_Normalize/config.json", {}),
    ]


def test_a_class_of_another_library_keeps_its_whole_name(tmp_path: Path) -> None:
    write_modules(tmp_path, "Transformer", "own.code.Pooling")
    assert read_modules(tmp_path)[1].kind == "own.code.Pooling"


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ({}, "holds a JSON dict"),
        ("Pooling", "holds a JSON str"),
        ([1], "entry 0 is 1"),
        ([entry(), "Pooling"], "entry 1 is 'Pooling'"),
        ([entry(path=None)], "path is None"),
        ([entry(type=3)], "type is 3"),
        ([], "begins with nothing"),
        ([entry(type=LIBRARY + "Pooling")], "begins with Pooling in ''"),
        ([entry(path="0_Transformer")], "begins with Transformer in '0_Transformer'"),
    ],
)
def test_what_is_no_list_of_modules_is_refused(tmp_path: Path, contents: Any, message: str) -> None:
    refuses(tmp_path, contents, message)


@pytest.mark.parametrize("path", ["../other", "1_Pooling/../../x", "/etc", "a\0b"])
def test_a_path_stays_inside_the_checkpoint(tmp_path: Path, path: str) -> None:
    refuses(tmp_path, [entry(), entry(type=LIBRARY + "Dense", path=path)], "leaves the checkpoint")


@pytest.mark.parametrize("contents", [b"{", b"\xff", b"[" * 100_000])
def test_a_damaged_file_is_refused(tmp_path: Path, contents: bytes) -> None:
    (tmp_path / "modules.json").write_bytes(contents)
    with pytest.raises(CheckpointError, match=r"modules\.json cannot be read"):
        read_modules(tmp_path)


@pytest.mark.parametrize("contents", [b"{", b"[]"])
def test_damaged_settings_are_refused(tmp_path: Path, contents: bytes) -> None:
    write_modules(tmp_path, "Transformer", "Pooling")
    (tmp_path / "1_Pooling" / "config.json").write_bytes(contents)
    with pytest.raises(CheckpointError, match=r"1_Pooling/config\.json"):
        read_modules(tmp_path)
