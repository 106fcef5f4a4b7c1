"""Masked tokens, held against transformers' probabilities."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

import mbert
from mbert.errors import BundleError, InputError
from support.checkpoints import load_oracle
from support.text import CLS, MASK, SEP

LONG = "river " * 3000  # tokens beyond any limit


def test_masks_get_the_most_probable_tokens(
    masker: mbert.MaskFiller, text_checkpoint: Path, tokenizer: Tokenizer
) -> None:
    text = "The [MASK] rose in the [MASK] and took the bridge."
    ids = tokenizer.encode(text).ids
    oracle = load_oracle(text_checkpoint, "fill-mask")
    with torch.no_grad():
        logits = oracle(torch.tensor([ids])).logits[0].double()
    expected = logits.softmax(-1)[[i for i, token in enumerate(ids) if token == MASK]]
    found = masker.fill_mask(text, top_k=7)
    assert len(found) == 2
    for candidates, probabilities in zip(found, expected, strict=True):
        best = probabilities.topk(7)
        assert [candidate.token_id for candidate in candidates] == best.indices.tolist()
        scores = [candidate.score for candidate in candidates]
        assert scores == pytest.approx(best.values.tolist(), rel=1e-4)
        for candidate in candidates:
            shown = tokenizer.decode([candidate.token_id], skip_special_tokens=False)
            assert candidate.token == shown


def test_one_text_gives_its_masks_and_several_a_list(masker: mbert.MaskFiller) -> None:
    one, two = "Bread is made of [MASK].", "The [MASK] and the [MASK] of [MASK]."
    results = masker.fill_mask([two, one])
    assert [[len(candidates) for candidates in masks] for masks in results] == [[5, 5, 5], [5]]
    alone = masker.fill_mask(one)
    assert [c.token_id for c in alone[0]] == [c.token_id for c in results[1][0]]
    assert masker.fill_mask([]) == []


def test_top_k_is_at_most_the_vocabulary(masker: mbert.MaskFiller) -> None:
    text = "[MASK]"
    assert [len(candidates) for candidates in masker.fill_mask(text, top_k=1)] == [1]
    whole = masker.fill_mask(text, top_k=10_000)[0]
    assert sorted(candidate.token_id for candidate in whole) == list(range(500))
    assert sum(candidate.score for candidate in whole) == pytest.approx(1)
    scores = [candidate.score for candidate in whole]
    assert scores == sorted(scores, reverse=True)
    for wrong in (0, -3):
        with pytest.raises(InputError, match=f"top_k.*{wrong}"):
            masker.fill_mask(text, top_k=wrong)


def test_a_text_without_a_mask_is_refused(masker: mbert.MaskFiller) -> None:
    with pytest.raises(InputError, match=r"Text 1 .*mask.*\[MASK\]"):
        masker.fill_mask(["a [MASK]", "no mask"])
    with pytest.raises(InputError, match=r"Text 0 .*mask"):
        masker.fill_mask("")


def test_a_mask_that_was_cut_off_is_missed(masker: mbert.MaskFiller) -> None:
    with pytest.raises(InputError, match=r"Text 0 has \d+ tokens"):
        masker.fill_mask(f"{LONG} [MASK]")
    with pytest.raises(InputError, match=r"Text 0 .*mask"):
        masker.fill_mask(f"{LONG} [MASK]", overflow="truncate")
    assert len(masker.fill_mask(f"[MASK] {LONG}", overflow="truncate")) == 1


def test_a_tokenizer_without_a_mask_needs_positions(
    fill_mask_bundle: Path, edited: Callable[..., Path]
) -> None:
    with mbert.MaskFiller.load(edited(fill_mask_bundle, special_tokens={"cls": CLS})) as model:
        for call in (
            lambda: model.fill_mask("a [MASK]"),
            lambda: model.run([[CLS, MASK, SEP]]),
            lambda: model.run_packed([CLS, MASK, SEP], [0, 3]),
        ):
            with pytest.raises(BundleError, match="mask token"):
                call()
        assert model.run_packed([CLS, MASK], [0, 2], mask_positions=[1]).shape == (1, 500)
