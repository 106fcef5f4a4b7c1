"""The range of activations, and whether it fits into float16.

float16 ends at 65,504. A larger sum becomes infinite and spoils everything after it, so an export
measures the largest magnitudes on text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mbert.model.families.modernbert import Attention, Layer
from mbert.model.heads.sentence_modules import FeatureModule

from ..inputs import make_batch
from .calibration_data import Sample, hooked

FLOAT16_LARGEST = float(torch.finfo(torch.float16).max)
# Text that was not tried may reach further.
HEADROOM = 2.0


def overflow(model: nn.Module, maxima: Mapping[str, float], text: str) -> str | None:
    """Say which activation or weight does not fit into float16; None if all fit."""
    for name, parameter in model.named_parameters():
        largest = parameter.abs().max().item() if parameter.numel() else 0.0
        if largest > FLOAT16_LARGEST:
            return f"the weight {name} has {largest:,.0f}; float16 ends at {FLOAT16_LARGEST:,.0f}"
    place, value = max(maxima.items(), key=lambda item: item[1])
    if value * HEADROOM <= FLOAT16_LARGEST:
        return None
    return (
        f"{place} reaches {value:,.0f} on {text}; float16 ends at {FLOAT16_LARGEST:,.0f}, of which "
        f"a factor of {HEADROOM:g} is kept for text that was not tried"
    )


def record(maxima: Mapping[str, float]) -> dict[str, Any]:
    """Return the entries of the manifest's ``calibration``."""
    return {
        "float16_largest": FLOAT16_LARGEST,
        "headroom": HEADROOM,
        "maxima": {place: float(f"{value:.4g}") for place, value in maxima.items()},
    }


def measure(model: nn.Module, sample: Sample, vocab_size: int) -> dict[str, float]:
    """Run ``sample`` through a float32 model; return the largest magnitudes.

    Keys are places in the order of computation: a module's name for its output, "the input of"
    such a name, and ``.scores`` behind an attention's.
    """
    maxima: dict[str, float] = {}
    with _recording(model, maxima), torch.inference_mode():
        for ids in sample.sequences:
            batch = make_batch(model, (ids.size,), vocab_size, np.random.default_rng(0))
            batch["input_ids"][: ids.size] = ids  # expansion tokens may follow
            model(**{name: torch.from_numpy(array) for name, array in batch.items()})
    return maxima


def _recording(model: nn.Module, maxima: dict[str, float]) -> AbstractContextManager[None]:
    """Hook outputs and inputs of all layers.

    GeGLU's products and residual sums appear as inputs only.
    """

    def note(place: str, value: Tensor) -> None:
        # NaN counts as infinite.
        reached = torch.nan_to_num(value.abs().max(), nan=torch.inf).item() if value.numel() else 0
        maxima[place] = max(maxima.get(place, 0.0), float(reached))

    def hook(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def called(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(module, nn.Linear | nn.LayerNorm):
                note(f"the input of {name}", inputs[0])
            note(name, output)

        return called

    def scores(name: str, attention: Attention) -> Callable[[nn.Module, Any, Any], None]:
        def called(module: nn.Module, inputs: Any, output: Tensor) -> None:
            # At most the product of the longest query and the longest key (Cauchy-Schwarz).
            heads = output.view(output.shape[0], 3, attention.num_heads, -1)
            q, k, _ = heads.norm(dim=-1).amax(0)
            note(f"{name}.scores", q * k * attention.scale)

        return called

    handles = []
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.LayerNorm | Layer | FeatureModule):
            handles.append(module.register_forward_hook(hook(name)))
        if isinstance(module, Attention):
            handles.append(module.Wqkv.register_forward_hook(scores(name, module)))
    return hooked(handles)
