"""Replace encoder layers by fused linear operators, whose weights lie in panels."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mbert.model.families.modernbert import Encoder, Layer
from mbert.model.families.modernbert_config import ModelConfig
from mbert.model.families.modernbert_fused import FusedLayer, RoundedEmbedding
from mbert.model.heads.prediction_heads import MaskedLM
from mbert.model.operators.linear import PANEL_OUTPUTS, FusedLinear, float_linear, interleave

from .base import Precision, cast


def unfit_size(config: ModelConfig) -> str | None:
    """Name a size that is no multiple of 16, as panels need; None if all are."""
    for name in ("hidden_size", "intermediate_size"):
        if getattr(config, name) % PANEL_OUTPUTS:
            return f"{name} is {getattr(config, name)}, not a multiple of {PANEL_OUTPUTS}"
    return None


class ReducedOnCpu(Precision):
    """A precision that the CPU kernels compute in fused layers.

    It is judged by direction too, on text: large channels appear on text only.
    """

    processor = "cpu"
    least_cosine = 0.999

    def model_refusal(self, config: ModelConfig) -> str | None:
        """Say which size the kernels have no panels for; None if they have them for all."""
        unfit = unfit_size(config)
        if unfit is None:
            return None
        return (
            f"On the CPU {self.name} needs sizes that are multiples of 16, but {unfit}. Export "
            "with --precision fp32."
        )


def fuse(model: nn.Module, config: ModelConfig, dtype: torch.dtype) -> None:
    """Replace layers by fused ones, in place; the rest becomes float32.

    Args:
        model: of any task, in float32 or float64.
        config: whose sizes fit (:func:`unfit_size`).
        dtype: of the weights: float32, or bfloat16, which also rounds the embedding and the
            decoder of fill-mask.
    """
    replace_layers(model, lambda _, layer: _fuse_layer(layer, config, dtype))
    if dtype != torch.float32:
        replace_vocabulary(
            model,
            lambda table: RoundedEmbedding(table.to(dtype)),
            lambda decoder: _linear(decoder, dtype),
        )


def replace_layers(model: nn.Module, fused: Callable[[str, Layer], FusedLayer]) -> None:
    """Cast ``model`` to float32 and replace each layer by ``fused(name, layer)``."""
    cast(model, torch.float32)
    layers = encoder_of(model).layers
    for i, layer in enumerate(layers):
        assert isinstance(layer, Layer)
        layers[i] = fused(f"layers.{i}", layer)


def replace_vocabulary(
    model: nn.Module,
    embedding: Callable[[Tensor], nn.Module],
    decoder: Callable[[nn.Linear], FusedLinear],
) -> None:
    """Replace the embedding and fill-mask's decoder.

    Two kinds of decoder stay: that of a sparse embedding, which slices it by blocks of the
    vocabulary, and one that the kernels have no panels for.
    """
    table = model.get_parameter("model.embeddings.tok_embeddings.weight").detach()
    encoder_of(model).embeddings.tok_embeddings = embedding(table)
    if type(model) is MaskedLM and model.decoder.out_features % PANEL_OUTPUTS == 0:
        model.decoder = decoder(model.decoder)  # type: ignore[assignment]


def encoder_of(model: nn.Module) -> Encoder:
    """Return the encoder of a model of any task."""
    encoder = model.get_submodule("model")
    assert isinstance(encoder, Encoder)
    return encoder


def parameters_of(linear: nn.Linear) -> tuple[Tensor, Tensor | None]:
    """Return weight and bias; None for a missing bias."""
    bias: Tensor | None = linear.bias
    return linear.weight.detach(), None if bias is None else bias.detach()


def norm_of(norm: nn.Module) -> tuple[Tensor, Tensor] | None:
    """Return weight and bias (zeros if missing); None if it is no LayerNorm."""
    if not isinstance(norm, nn.LayerNorm):
        return None
    weight = norm.weight.detach()
    return weight, torch.zeros_like(weight) if norm.bias is None else norm.bias.detach()


def _fuse_layer(layer: Layer, config: ModelConfig, dtype: torch.dtype) -> FusedLayer:
    up, up_bias = parameters_of(layer.mlp.Wi)
    mlp_norm = norm_of(layer.mlp_norm)
    assert mlp_norm is not None
    return FusedLayer(
        layer,
        _linear(layer.attn.Wqkv, dtype),
        _linear(layer.attn.Wo, dtype),
        float_linear(interleave(up).to(dtype), None if up_bias is None else interleave(up_bias)),
        _linear(layer.mlp.Wo, dtype),
        norm_of(layer.attn_norm),
        mlp_norm,
        config.norm_eps,
        config.hidden_activation,
    )


def _linear(linear: nn.Linear, dtype: torch.dtype) -> FusedLinear:
    weight, bias = parameters_of(linear)
    return float_linear(weight.to(dtype), bias)
