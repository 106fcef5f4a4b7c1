"""Every member of the family from checkpoint to answer, against the library that users know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from sentence_transformers import MultiVectorEncoder, SentenceTransformer

import mbert
from mbert.export.checkpoint.config_json import read_config
from mbert.export.verify import reference as reference_module
from mbert.model.heads.prediction_heads import MaskedLM
from support.checkpoints import SMALL, to_legacy
from support.family import FAMILY, SIZES, TEXTS, make_member
from support.thinning import thinned

ENCODERS = [name for name, member in FAMILY.items() if not member.modules]
COLBERT = [name for name, member in FAMILY.items() if member.settings]
EMBEDDERS = [name for name in FAMILY if name not in (*ENCODERS, *COLBERT)]


@pytest.fixture(autouse=True)
def small_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Verify each export on few sequences, one of them longer than the window."""
    monkeypatch.setattr(reference_module, "_LENGTHS", (1, 2, 40))


@pytest.mark.parametrize("name", [*FAMILY, *SIZES])
def test_weights_and_layers_are_as_transformers_has_them(name: str, tmp_path: Path) -> None:
    member = {**FAMILY, **SIZES}[name]
    settings = transformers.ModernBertConfig(**{**SMALL, **member.settings_of_config})
    settings.save_pretrained(tmp_path)
    config = read_config(to_legacy(tmp_path))
    with torch.device("meta"):
        oracle, model = transformers.ModernBertForMaskedLM(settings), MaskedLM(config)
    shapes = [
        {
            name: parameter.shape
            for name, parameter in found.named_parameters(remove_duplicate=False)
        }
        for found in (oracle, model)
    ]
    assert shapes[0] == shapes[1]
    kinds = zip(settings.layer_types, config.layers, strict=True)
    assert all((kind == "full_attention") == (layer.window < 0) for kind, layer in kinds)
    thetas = [settings.rope_parameters[kind]["rope_theta"] for kind in settings.layer_types]
    assert [layer.theta for layer in config.layers] == thetas


@pytest.mark.parametrize("name", thinned(ENCODERS, ["ModernBERT-base", "mmBERT-small"]))
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


@pytest.mark.parametrize(
    "name", thinned(EMBEDDERS, ["modernbert-embed-base", "granite-embedding-97m-multilingual-r2"])
)
def test_texts_are_embedded_as_by_sentence_transformers(name: str, tmp_path: Path) -> None:
    checkpoint = make_member(tmp_path / name, name)
    oracle = SentenceTransformer(str(checkpoint), device="cpu")
    mbert.convert(checkpoint, tmp_path / "bundle")
    with mbert.load(tmp_path / "bundle") as model:
        assert model.info.task == "sentence-similarity"
        found = model.embed(TEXTS)
    np.testing.assert_allclose(found, oracle.encode(list(TEXTS)), atol=1e-4)


@pytest.mark.parametrize("name", COLBERT)
def test_tokens_are_embedded_as_by_the_multi_vector_encoder(name: str, tmp_path: Path) -> None:
    checkpoint = make_member(tmp_path / name, name)
    oracle = MultiVectorEncoder(str(checkpoint), device="cpu")
    mbert.convert(checkpoint, tmp_path / "bundle")
    texts = list(TEXTS)
    with mbert.load(tmp_path / "bundle") as model:
        assert model.info.task == "multi-vector"
        queries = model.embed(texts, role="query", overflow="truncate")
        documents = model.embed(texts, role="document", overflow="truncate")
    expected = [*oracle.encode_query(texts), *oracle.encode_document(texts)]
    for vectors, right in zip([*queries, *documents], expected, strict=True):
        np.testing.assert_allclose(vectors, np.asarray(right), atol=1e-4)
