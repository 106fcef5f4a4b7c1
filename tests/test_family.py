"""Every member of the family from checkpoint to answer, against the library that users know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers

import mbert
from mbert.export import verify as verify_module
from support.family import FAMILY, TEXTS, make_member

ENCODERS = [name for name, member in FAMILY.items() if not member.modules]


@pytest.fixture(autouse=True)
def small_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Verify each export on few sequences, one of them longer than the window."""
    monkeypatch.setattr(verify_module, "_LENGTHS", (1, 2, 40))


@pytest.mark.parametrize("name", ENCODERS)
def test_masks_are_filled_as_by_the_pipeline(name: str, tmp_path: Path) -> None:
    checkpoint = make_member(tmp_path / name, name)
    oracle: Any = transformers.pipeline("fill-mask", str(checkpoint), top_k=4)
    mask = oracle.tokenizer.mask_token
    texts = [f"{text} {mask}, the{mask} bridge." for text in TEXTS]
    mbert.convert(checkpoint, tmp_path / "bundle")
    with mbert.load(tmp_path / "bundle") as model:
        assert model.info.task == "fill-mask"
        found = model.fill_mask(texts, top_k=4)
    for masks, expected in zip(found, oracle(texts), strict=True):
        assert len(masks) == len(expected) == 2
        for candidates, right in zip(masks, expected, strict=True):
            assert [c.token_id for c in candidates] == [r["token"] for r in right]
            assert [c.token for c in candidates] == [r["token_str"] for r in right]
            scores = [r["score"] for r in right]
            np.testing.assert_allclose([c.score for c in candidates], scores, rtol=1e-4)
