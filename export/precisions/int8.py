"""int8, on a CPU: encoder layers, embedding and fill-mask's decoder.

A channel much larger than its neighbours would make the steps of its row coarse. It is divided by a
factor at its origin, and the weights that it meets are multiplied by that factor (Xiao et al. 2022,
SmoothQuant). A norm's weight, the rows of V and the gates of GeGLU absorb the division at no cost
and without changing the result. The strength of the smoothing is chosen for each linear layer by
the error on text.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
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

from .base import Calibration
from .calibration_data import Sample, hooked
from .fusion import (
    ReducedOnCpu,
    encoder_of,
    norm_of,
    parameters_of,
    replace_layers,
    replace_vocabulary,
)

# Exponents of the smoothing: 0 leaves the activations as they are, 1 makes them all equal.
_STRENGTHS = (0.0, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
# Rows of activations that the error is measured on.
_SAMPLE_ROWS = 256

# For each linear layer: the largest magnitude of each input channel, and a sample of input rows.
Activations = dict[str, tuple[Tensor, Tensor]]


class CpuInt8(ReducedOnCpu):
    """int8 on a CPU."""

    name = "int8"
    converts_by_calibration = True

    def calibrate(self, model: nn.Module, config: ModelConfig, sample: Sample) -> Calibration:
        """Sample the inputs of the encoder's linear layers."""
        return InputSample(sample, sample_activations(model, sample))

    def convert(
        self, model: nn.Module, config: ModelConfig, calibration: Calibration | None
    ) -> None:
        """Quantize layers, embedding and decoder."""
        assert isinstance(calibration, InputSample)
        quantize(model, config, calibration.activations)


@dataclass(frozen=True)
class InputSample(Calibration):
    """Inputs of the encoder's linear layers on a text."""

    activations: Activations


def sample_activations(model: nn.Module, sample: Sample) -> Activations:
    """Run ``sample`` through a float32 encoder; keep its layers' inputs."""
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
    """Quantize layers, embedding and decoder in place; the rest is float32.

    The sizes of ``config`` have to fit (:func:`mbert.export.precisions.fusion.unfit_size`).
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
    # The first layer has no norm that could divide the inputs of its projections.
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
    linear: nn.Linear, activations: tuple[Tensor, Tensor], smooth: bool = True
) -> tuple[QuantizedWeight, Tensor]:
    """Quantize ``linear``; return it and the divisors of its inputs, [inputs]."""
    weight, bias = parameters_of(linear)
    largest, rows = activations
    exact = rows @ weight.T
    best: tuple[float, QuantizedWeight, Tensor] | None = None
    for strength in _STRENGTHS if smooth else (0.0,):
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
    """Return ``largest^strength / (largest weight)^(1 - strength)`` by channel.

    A channel of zeros has the factor 1.
    """
    if strength == 0.0:
        return torch.ones_like(largest)
    of_weights = weight.abs().amax(0)
    factors = largest**strength / of_weights ** (1.0 - strength)
    usable = (largest > 0) & (of_weights > 0) & factors.isfinite() & (factors > 0)
    # Centred on 1, so that scales stay far from the ends of their range.
    middle = factors[usable].log().mean().exp() if bool(usable.any()) else 1.0
    return torch.where(usable, factors / middle, torch.ones_like(factors))


def _divided(weight: QuantizedWeight, factors: Tensor) -> QuantizedWeight:
    """Divide each output by its factor."""
    return replace(weight, scale=weight.scale / factors, bias=weight.bias / factors)


def _norm(norm: tuple[Tensor, Tensor], factors: Tensor) -> tuple[Tensor, Tensor]:
    weight, bias = norm
    return weight / factors, bias / factors
