"""Fused layers: same results, remaining ONNX operators, and bfloat16 weights."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch

import mbert
from mbert.errors import ExportError
from mbert.export.checkpoint import open_checkpoint
from mbert.export.precisions.fusion import fuse
from mbert.export.tasks import load_model
from mbert.export.verify.bundle import verify_bundle
from support.checkpoints import make_checkpoint
from support.export_cache import ExportCache
from support.text import add_tokenizer


def _node_types(bundle: Path) -> list[str]:
    return [node.op_type for node in ir.load(bundle / "model.onnx").graph]


def _large_types(bundle: Path) -> set[ir.DataType]:
    """Types of weights with two dimensions or more, without the rotary tables."""
    found = set()
    for name, value in ir.load(bundle / "model.onnx").graph.initializers.items():
        assert value.shape is not None
        if len(value.shape) > 1 and "rope" not in name:
            assert value.dtype is not None
            found.add(value.dtype)
    return found


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"attention_bias": True, "mlp_bias": True, "norm_bias": True},
        {"hidden_activation": "silu"},
        {"hidden_activation": "gelu_pytorch_tanh"},
    ],
    ids=["plain", "biases", "silu", "tanh"],
)
def test_fused_layers_compute_the_same(config: dict[str, Any], tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "model", num_hidden_layers=3, **config)
    source = open_checkpoint(folder)
    model = load_model(source, "feature-extraction")
    fused = copy.deepcopy(model)
    fuse(fused, source.config, torch.float32)
    ids = torch.randint(
        3, 400, (57,), dtype=torch.int32, generator=torch.Generator().manual_seed(0)
    )
    offsets = torch.tensor([0, 20, 57], dtype=torch.int32)
    with torch.inference_mode():
        expected, found = model(ids, offsets), fused(ids, offsets)
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max()


def test_nothing_but_mberts_operators_is_left_in_a_layer(
    checkpoint: Path, exports: ExportCache
) -> None:
    bundle = exports(checkpoint, "feature-extraction")
    nodes = _node_types(bundle)
    layers = len(open_checkpoint(checkpoint).config.layers)
    for name, times in (
        ("Linear", 1),  # of the first layer, which has no norm
        ("NormLinear", layers - 1),
        ("NormGatedLinear", layers),
        ("ResidualLinear", 2 * layers),
        ("VarlenAttention", layers),
    ):
        assert nodes.count(name) == times
    assert nodes.count("LayerNormalization") == 2  # of the embedding, and at the end
    assert not set(nodes) & {"MatMul", "Gemm", "Add", "Mul", "Gelu"}
    assert _large_types(bundle) == {ir.DataType.FLOAT}


def test_sizes_without_panels_are_left_to_onnx(tmp_path: Path) -> None:
    odd = make_checkpoint(tmp_path / "odd", num_hidden_layers=2, intermediate_size=90)
    manifest = mbert.convert(odd, tmp_path / "b", task="feature-extraction")
    assert manifest.operators == {"VarlenAttention": 1}
    assert "Gemm" in _node_types(tmp_path / "b")


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_they_are_refused_in_reduced_precision(precision: str, tmp_path: Path) -> None:
    odd = make_checkpoint(tmp_path / "odd", num_hidden_layers=2, intermediate_size=90)
    with pytest.raises(ExportError, match="multiples of 16, but intermediate_size is 90"):
        mbert.convert(odd, tmp_path / "b", precision=precision)
    assert not (tmp_path / "b").exists()


@pytest.fixture(scope="module")
def rounded(exports: ExportCache, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A checkpoint, and its bundle in bfloat16."""
    folder = tmp_path_factory.mktemp("bf16")
    even = make_checkpoint(folder / "even", num_hidden_layers=3, vocab_size=512)
    add_tokenizer(even)
    return even, exports(even, precision="bf16")


def test_every_large_weight_is_of_bfloat16(rounded: tuple[Path, Path]) -> None:
    _, bundle = rounded
    assert _node_types(bundle).count("Linear") == 2  # the decoder as well
    # Only the prediction head's dense layer stays float32.
    graph = ir.load(bundle / "model.onnx").graph
    large = [v for v in graph.initializers.values() if v.shape is not None and len(v.shape) > 1]
    in_float = [v.name for v in large if v.dtype == ir.DataType.FLOAT and "rope" not in str(v.name)]
    assert len(in_float) == 1, in_float
    assert _large_types(bundle) == {ir.DataType.FLOAT, ir.DataType.BFLOAT16}


def test_bfloat16_is_verified_on_text(rounded: tuple[Path, Path]) -> None:
    checkpoint, bundle = rounded
    with mbert.load(bundle) as model:
        info = model.info
        assert len(model.fill_mask("a [MASK] b")[0]) == 5
    assert info.precision == info.verification["precision"] == "bf16"
    assert info.verification["hidden_state_cosine"]["mean"] > 0.9999
    assert set(info.verification["checks"]) == {"plugin", "functions"}
    record = verify_bundle(bundle, checkpoint, ["a text of one's own", "and another one"])
    assert record["passed"]
    assert record["reduced_on_cpu"]


def test_bfloat16_does_not_depend_on_the_batch(checkpoint: Path, exports: ExportCache) -> None:
    bundle = exports(checkpoint, "feature-extraction", "bf16")
    generator = np.random.default_rng(0)
    sequences = [generator.integers(3, 400, n) for n in (5, 90, 1, 33, 200)]
    with mbert.load(bundle) as model:
        together = model.run(sequences)
        alone = [model.run([ids])[0] for ids in sequences]
    for a, b in zip(together, alone, strict=True):
        np.testing.assert_array_equal(a, b)
