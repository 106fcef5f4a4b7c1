"""The pooling of a checkpoint's modules, for hidden states."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mbert.export.checkpoint.modules_json import read_modules
from mbert.export.tasks.feature_extraction import pooling_of
from support.sentence import write_modules


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
