"""Casting, and the check that activations fit into float16."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mbert.errors import ExportError
from mbert.export.checkpoint import open_checkpoint
from mbert.export.precisions import find_precision
from mbert.export.precisions.base import cast
from mbert.export.precisions.calibration_data import read_sample
from mbert.export.precisions.fp16_range import FLOAT16_LARGEST
from mbert.export.tasks import load_model
from mbert.runtime.manifest import Limits

FLOAT16 = find_precision("fp16", "gpu")
LIMITS = Limits(max_tokens=1024, max_sequence_length=1024, max_sequences=8)


@pytest.fixture
def model(checkpoint: Path) -> Any:
    return load_model(open_checkpoint(checkpoint), "fill-mask")


def measure(model: Any, checkpoint: Path | None, text: Path | None = None) -> Any:
    tokenizer = checkpoint / "tokenizer.json" if checkpoint else None
    config: Any = SimpleNamespace(vocab_size=500)
    return FLOAT16.calibrate(model, config, read_sample(tokenizer, LIMITS, 500, text))


def test_only_parameters_are_cast(model: Any) -> None:
    before = {name: table.clone() for name, table in model.named_buffers()}
    weights = {name: p.detach().clone() for name, p in model.named_parameters()}
    model.double()
    cast(model, torch.bfloat16)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    for name, table in model.named_buffers():
        assert torch.equal(table, before[name])
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, weights[name].bfloat16())


def test_every_layer_is_measured(model: Any, checkpoint: Path) -> None:
    measured = measure(model, checkpoint)
    assert measured.sample.name == "the built-in sample"
    assert measured.sample.tokens > 100
    for place in (
        "model.embeddings.norm",
        "model.layers.0",
        "model.layers.1.attn.Wqkv",
        "model.layers.1.attn.scores",
        "the input of model.layers.1.mlp.Wo",
        "the input of model.layers.1.mlp_norm",
        "head.dense",
        "decoder",
    ):
        assert measured.maxima[place] > 0
    assert FLOAT16.overflow(model, measured) is None
    assert measured.record()["maxima"].keys() == measured.maxima.keys()


def test_a_maximum_is_the_largest_magnitude(model: Any, checkpoint: Path) -> None:
    seen = []
    handle = model.model.layers[1].mlp.Wi.register_forward_hook(
        lambda module, inputs, output: seen.append(output.abs().max().item())
    )
    measured = measure(model, checkpoint)
    handle.remove()
    assert measured.maxima["model.layers.1.mlp.Wi"] == max(seen)


@pytest.mark.parametrize(
    ("place", "name"),
    [("Wi", "model.layers.1.mlp.Wi"), ("Wo", "model.layers.1.mlp.Wo")],
)
def test_an_overflow_is_named(model: Any, checkpoint: Path, place: str, name: str) -> None:
    weight = getattr(model.model.layers[1].mlp, place).weight
    reached = measure(model, checkpoint).maxima[name]
    weight.data *= 1.5 * FLOAT16_LARGEST / reached
    overflow = FLOAT16.overflow(model, measure(model, checkpoint))
    assert overflow is not None
    assert "model.layers.1" in overflow
    assert "float16 ends at 65,504" in overflow


def test_room_is_kept_below_the_end(model: Any, checkpoint: Path) -> None:
    decoder = model.decoder.weight
    model.decoder.bias.data.zero_()
    reached = measure(model, checkpoint).maxima["decoder"]
    decoder.data *= 0.55 * FLOAT16_LARGEST / reached
    overflow = FLOAT16.overflow(model, measure(model, checkpoint))
    assert overflow is not None
    assert overflow.startswith("decoder reaches 36,0")


def test_scores_that_overflow_are_found(model: Any, checkpoint: Path) -> None:
    model.model.layers[0].attn.Wqkv.weight.data *= 3e2
    overflow = FLOAT16.overflow(model, measure(model, checkpoint))
    assert overflow is not None
    assert "layers.0.attn.scores" in overflow


def test_a_weight_that_does_not_fit_is_named(model: Any, checkpoint: Path) -> None:
    measured = measure(model, checkpoint)
    model.head.dense.weight.data[0, 0] = -7e4
    assert "the weight head.dense.weight has 70,000" in str(FLOAT16.overflow(model, measured))


def test_without_a_tokenizer_ids_are_random(model: Any) -> None:
    assert measure(model, None).sample.name == "random token ids"


def test_the_users_own_text_is_used(model: Any, checkpoint: Path, tmp_path: Path) -> None:
    text = tmp_path / "mine.txt"
    text.write_text("one text\n\nanother text\n")
    measured = measure(model, checkpoint, text)
    assert measured.sample.name == "mine.txt"
    assert 0 < measured.sample.tokens < 60


def test_text_that_cannot_be_used_is_refused(model: Any, checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="cannot be read"):
        measure(model, checkpoint, tmp_path / "absent.txt")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ExportError, match="cannot be read"):
        measure(model, checkpoint, tmp_path / "binary")
    (tmp_path / "empty").write_text("\n \n")
    with pytest.raises(ExportError, match="is empty"):
        measure(model, checkpoint, tmp_path / "empty")
    with pytest.raises(ExportError, match=r"has no tokenizer\.json"):
        measure(model, None, tmp_path / "empty")
