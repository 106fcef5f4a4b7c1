"""A model to 8 bits: every linear layer of the encoder, the embedding, and fill-mask's decoder.

Channels that are much larger than their neighbours would take all the steps of a row for
themselves. They are divided by a factor where they come from, and the weights that they meet are
multiplied by it (Xiao et al. 2022, SmoothQuant): in a norm's weight, in the rows of V, in the gates
of GeGLU, where the division costs nothing and changes nothing. How far is chosen for each linear
layer by the error that it makes on text.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from mbert.model.families.modernbert import Layer
from mbert.model.families.modernbert_config import ModelConfig
from mbert.model.families.modernbert_fused import FusedLayer
from mbert.model.operators.linear import interleave
from mbert.model.operators.quantized_linear import (
    QuantizedEmbedding,
    QuantizedWeight,
    quantize_rows,
    quantize_weight,
    quantized_linear,
)

from .fuse import encoder_of, norm_of, parameters_of, replace_layers, replace_vocabulary
from .hooks import hooked
from .sample import Sample

# How much of the range's unevenness goes from the activations to the weights; 0: nothing.
_STRENGTHS = (0.0, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
# Rows of activations that a choice is measured on.
_SAMPLE_ROWS = 256

# For each linear layer: its largest activation by channel, and a sample of its rows.
Activations = dict[str, tuple[Tensor, Tensor]]


def sample_activations(model: nn.Module, sample: Sample) -> Activations:
    """Run ``sample`` through the encoder of ``model`` (float32) and keep what its layers see."""
    found: Activations = {}
    with _recording(model, found, _SAMPLE_ROWS / sample.tokens), torch.inference_mode():
        for ids in sample.sequences:
            offsets = torch.tensor([0, ids.size], dtype=torch.int32)
            encoder_of(model)(torch.from_numpy(ids), offsets)
    return found


def _recording(model: nn.Module, found: Activations, share: float) -> AbstractContextManager[None]:
    generator = torch.Generator().manual_seed(0)

    def hook(name: str) -> Any:
        def called(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            (x,) = inputs
            rows = x[torch.rand(x.shape[0], generator=generator) < share]
            largest = x.abs().amax(0)
            if name in found:
                before, kept = found[name]
                largest, rows = torch.maximum(largest, before), torch.cat((kept, rows))
            found[name] = largest, rows

        return called

    return hooked(
        module.register_forward_pre_hook(hook(name))
        for name, module in encoder_of(model).named_modules()
        if isinstance(module, nn.Linear)
    )


def quantize(model: nn.Module, config: ModelConfig, activations: Activations) -> None:
    """Replace the layers of ``model`` by quantized ones, in place; the rest becomes float32.

    The sizes of ``config`` have to fit (:func:`mbert.export.fuse.unfit_size`).
    """
    replace_layers(model, lambda name, layer: _quantize_layer(layer, name, config, activations))
    replace_vocabulary(
        model,
        QuantizedEmbedding,
        lambda decoder: quantized_linear(quantize_weight(*parameters_of(decoder))),
    )


def _quantize_layer(
    layer: Layer, name: str, config: ModelConfig, activations: Activations
) -> FusedLayer:
    hidden, channels = config.hidden_size, config.intermediate_size
    attn, mlp = layer.attn, layer.mlp

    attention_norm, mlp_norm = norm_of(layer.attn_norm), norm_of(layer.mlp_norm)
    assert mlp_norm is not None
    # Nothing before the first layer's projections could divide.
    qkv, by_qkv = _smoothed(attn.Wqkv, activations[f"{name}.attn.Wqkv"], attention_norm is not None)
    out, by_out = _smoothed(attn.Wo, activations[f"{name}.attn.Wo"])
    up, by_up = _smoothed(mlp.Wi, activations[f"{name}.mlp.Wi"])
    down, by_down = _smoothed(mlp.Wo, activations[f"{name}.mlp.Wo"])

    qkv = _divided(qkv, torch.cat((torch.ones(2 * hidden), by_out)))  # V
    up = _divided(up, torch.cat((torch.ones(channels), by_down)))  # the gates
    up = QuantizedWeight(*(interleave(part) for part in (up.integers, up.scale, up.bias)))
    return FusedLayer(
        layer,
        quantized_linear(qkv),
        quantized_linear(out),
        quantized_linear(up),
        quantized_linear(down),
        None if attention_norm is None else _norm(attention_norm, by_qkv),
        _norm(mlp_norm, by_up),
        config.norm_eps,
        config.hidden_activation,
    )


def _smoothed(
    linear: nn.Linear, activations: tuple[Tensor, Tensor], may: bool = True
) -> tuple[QuantizedWeight, Tensor]:
    """Quantize ``linear`` for activations divided by the factors that are given back, [inputs]."""
    weight, bias = parameters_of(linear)
    largest, rows = activations
    exact = rows @ weight.T
    best: tuple[float, QuantizedWeight, Tensor] | None = None
    for strength in _STRENGTHS if may else (0.0,):
        factors = _factors(largest, weight, strength)
        quantized = quantize_weight(weight * factors, bias)
        integers, scale = quantize_rows(rows / factors)
        products = integers @ quantized.integers.float().T
        error = (products * scale[:, None] * quantized.scale - exact).square().sum().item()
        if best is None or error < best[0]:
            best = error, quantized, factors
    assert best is not None
    return best[1], best[2]


def _factors(largest: Tensor, weight: Tensor, strength: float) -> Tensor:
    """``largest^strength / (largest weight)^(1 - strength)`` by channel; 1 where one is 0."""
    if strength == 0.0:
        return torch.ones_like(largest)
    of_weights = weight.abs().amax(0)
    factors = largest**strength / of_weights ** (1.0 - strength)
    usable = (largest > 0) & (of_weights > 0) & factors.isfinite() & (factors > 0)
    # Around 1, so that scales stay far from the ends of the range.
    middle = factors[usable].log().mean().exp() if bool(usable.any()) else 1.0
    return torch.where(usable, factors / middle, torch.ones_like(factors))


def _divided(weight: QuantizedWeight, factors: Tensor) -> QuantizedWeight:
    """Divide each output by its factor."""
    return replace(weight, scale=weight.scale / factors, bias=weight.bias / factors)


def _norm(norm: tuple[Tensor, Tensor], factors: Tensor) -> tuple[Tensor, Tensor]:
    weight, bias = norm
    return weight / factors, bias / factors
