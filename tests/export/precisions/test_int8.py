"""int8 exports: accuracy, large channels, and refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch

import mbert
from mbert.errors import ExportError
from mbert.export.checkpoint import open_checkpoint
from mbert.export.precisions import int8 as int8_module
from mbert.export.tasks import load_model
from mbert.export.verify.bundle import verify_bundle
from mbert.model.operators.quantized_linear import QuantizedWeight
from support.checkpoints import SMALL, make_checkpoint, make_model, save_model
from support.export_cache import ExportCache
from support.text import add_tokenizer


@pytest.fixture(scope="module")
def bundle(checkpoint: Path, exports: ExportCache) -> Path:
    return exports(checkpoint, "feature-extraction", "int8")


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint some of whose channels are a hundred times larger than the others.

    They lie where trained encoders have them: in the norms before the projections, in values, and
    in the channels between the MLP's two layers.
    """
    model = make_model("feature-extraction", **SMALL)
    with torch.no_grad():
        for layer in model.layers:
            for norm in (layer.attn_norm, layer.mlp_norm):
                if isinstance(norm, torch.nn.LayerNorm):
                    norm.weight[::17] *= 100
            layer.attn.Wqkv.weight[2 * SMALL["hidden_size"] :: 13] *= 30
            layer.mlp.Wi.weight[SMALL["intermediate_size"] :: 19] *= 100
            # What reads them is small, as training makes it.
            layer.attn.Wqkv.weight[:, ::17] /= 100
            layer.mlp.Wi.weight[:, ::17] /= 100
            layer.attn.Wo.weight[:, ::13] /= 30
            layer.mlp.Wo.weight[:, ::19] /= 100
    return save_model(model, tmp_path_factory.mktemp("uneven") / "model")


def test_the_record_says_how_exact_it_is(bundle: Path) -> None:
    with mbert.load(bundle) as model:
        info = model.info
    record = info.verification
    assert info.precision == record["precision"] == "int8"
    assert info.operators["QuantizedNormGatedLinear"] == 1
    assert info.calibration is not None
    assert info.calibration["tokens"] > 100
    assert record["hidden_state_cosine"]["mean"] >= 0.999
    assert set(record["checks"]) == {"plugin", "functions"}


def test_every_large_weight_is_of_8_bits(bundle: Path) -> None:
    graph = ir.load(bundle / "model.onnx").graph
    sizes = {
        name: value.shape.numpy()
        for name, value in graph.initializers.items()
        if value.dtype == ir.DataType.FLOAT and value.shape is not None and "rope" not in name
    }
    assert all(len(size) < 2 or size[-1] == 1 for size in sizes.values()), sizes
    assert {node.op_type for node in graph} & {"MatMul", "Gemm"} == set()


def test_close_to_float32_and_independent_of_the_batch(bundle: Path, checkpoint: Path) -> None:
    generator = np.random.default_rng(0)
    sequences = [generator.integers(3, 500, n) for n in (5, 90, 1, 33, 200)]
    with mbert.load(bundle) as model:
        together = model.run(sequences)
        alone = [model.run([ids])[0] for ids in sequences]
    exact = load_model(open_checkpoint(checkpoint), "feature-extraction")
    for ids, a, b in zip(sequences, together, alone, strict=True):
        np.testing.assert_array_equal(a, b)
        offsets = torch.tensor([0, ids.size], dtype=torch.int32)
        with torch.inference_mode():
            expected = exact(torch.from_numpy(ids.astype(np.int32)), offsets).numpy()
        assert _cosine(a, expected) > 0.999


def _cosine(a: Any, b: Any) -> float:
    return float((a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b))


def test_fill_mask_quantizes_its_decoder(
    checkpoint: Path, exports: ExportCache, tmp_path: Path
) -> None:
    """A vocabulary that is no multiple of 16 keeps its decoder in float32."""
    odd = exports(checkpoint, "fill-mask", "int8")
    nodes = [node.op_type for node in ir.load(odd / "model.onnx").graph]
    assert nodes.count("QuantizedLinear") == 1  # the first layer's projections
    even = make_checkpoint(tmp_path / "even", num_hidden_layers=2, vocab_size=512)
    add_tokenizer(even)
    bundle = exports(even, "fill-mask", "int8")
    nodes = [node.op_type for node in ir.load(bundle / "model.onnx").graph]
    assert nodes.count("QuantizedLinear") == 2
    with mbert.load(bundle) as model:
        assert len(model.fill_mask("a [MASK] b")[0]) == 5


def test_large_channels_do_no_harm(
    uneven: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = mbert.convert(uneven, tmp_path / "smooth", precision="int8")
    assert manifest.verification["hidden_state_cosine"]["mean"] >= 0.999
    monkeypatch.setattr(int8_module, "_STRENGTHS", (0.0,))
    with pytest.raises(ExportError, match=r"mean cosine is 0\.\d+, expected at least 0\.999"):
        mbert.convert(uneven, tmp_path / "rough", precision="int8")
    assert not (tmp_path / "rough").exists()


def test_another_calibration_text(checkpoint: Path, tmp_path: Path) -> None:
    text = tmp_path / "mine.txt"
    text.write_text("one two three\nfour five six seven\n")
    manifest = mbert.convert(checkpoint, tmp_path / "b", precision="int8", calibration=text)
    assert manifest.calibration is not None
    assert manifest.calibration["text"] == "mine.txt"


def test_smoothing_changes_nothing_but_rounding(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without rounding, divisions and multiplications cancel."""

    def unrounded(weight: torch.Tensor, bias: torch.Tensor | None) -> QuantizedWeight:
        ones, zeros = torch.ones(weight.shape[0]), torch.zeros(weight.shape[0])
        return QuantizedWeight(weight, ones, zeros if bias is None else bias)

    taken: list[Any] = []
    monkeypatch.setattr(int8_module, "quantize_weight", unrounded)
    monkeypatch.setattr(int8_module, "_STRENGTHS", (0.6,))
    monkeypatch.setattr(int8_module, "quantized_linear", lambda weight: weight)
    monkeypatch.setattr(int8_module, "FusedLayer", lambda *parts: taken.extend(parts))
    source = open_checkpoint(checkpoint)
    layer = load_model(source, "feature-extraction").model.layers[1]
    generator = torch.Generator().manual_seed(0)
    seen = {}
    for name, module in layer.named_modules():
        if isinstance(module, torch.nn.Linear):
            rows = torch.randn(40, module.in_features, generator=generator)
            rows[:, ::7] *= 50
            seen[f"layers.1.{name}"] = rows.abs().amax(0), rows
    int8_module._quantize_layer(layer, "layers.1", source.config, seen)
    _, qkv, out, up, down, attention_norm, mlp_norm, epsilon, _ = taken

    def linear(weight: QuantizedWeight, x: torch.Tensor) -> torch.Tensor:
        return x @ (weight.integers * weight.scale[:, None]).T + weight.bias

    def normalized(norm: Any, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.layer_norm(x, x.shape[-1:], *norm, epsilon)

    def values(projected: torch.Tensor) -> torch.Tensor:
        return projected[:, 2 * projected.shape[1] // 3 :]

    x = torch.randn(9, source.config.hidden_size, generator=generator)
    found = linear(out, values(linear(qkv, normalized(attention_norm, x))))
    torch.testing.assert_close(found, layer.attn.Wo(values(layer.attn.Wqkv(layer.attn_norm(x)))))
    panels = linear(up, normalized(mlp_norm, x)).view(9, -1, 2, 16)
    gated = torch.nn.functional.gelu(panels[:, :, 0]) * panels[:, :, 1]
    torch.testing.assert_close(linear(down, gated.flatten(1)), layer.mlp(layer.mlp_norm(x)))


def test_it_can_be_verified_again(bundle: Path, checkpoint: Path) -> None:
    record = verify_bundle(bundle, checkpoint, ["a text of one's own", "and another one"])
    assert record["passed"]
    assert record["precision"] == "int8"
