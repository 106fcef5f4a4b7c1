"""Reduced precision: the types, and whether a checkpoint's activations fit into float16.

float16 ends at 65,504. A sum that goes beyond it is infinite, and everything after it is wrong, so
the largest activations are measured at export, on text.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mbert.model.families.modernbert import Attention, Layer
from mbert.model.heads.sentence_modules import FeatureModule

from .hooks import hooked
from .inputs import make_batch
from .sample import Sample

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
FLOAT16_LARGEST = float(torch.finfo(torch.float16).max)
# Text that was not seen may reach further than the text that was.
HEADROOM = 2.0


def cast(model: nn.Module, precision: str) -> None:
    """Convert the parameters of ``model`` in place; the rotary tables stay in float32.

    From float64 too: a parameter that came from float32 is rounded once.
    """
    for parameter in model.parameters():
        parameter.data = parameter.data.to(DTYPES[precision])
    for table in model.buffers():
        table.data = table.data.float()


@dataclass(frozen=True)
class Calibration:
    """The largest magnitudes that occurred.

    Attributes:
        text: where the text came from.
        tokens: how many tokens were run.
        maxima: by name of the place, in the order of computation.
    """

    text: str
    tokens: int
    maxima: dict[str, float]

    @property
    def largest(self) -> tuple[str, float]:
        """The place with the largest magnitude, and that."""
        return max(self.maxima.items(), key=lambda item: item[1])

    def overflow(self) -> str | None:
        """Say which place does not fit into float16; None when all do."""
        place, value = self.largest
        if value * HEADROOM <= FLOAT16_LARGEST:
            return None
        return (
            f"{place} reaches {value:,.0f} on {self.text}; float16 ends at {FLOAT16_LARGEST:,.0f}, "
            f"of which a factor of {HEADROOM:g} is kept for text that was not tried"
        )

    def record(self) -> dict[str, Any]:
        """For the manifest."""
        return {
            "text": self.text,
            "tokens": self.tokens,
            "float16_largest": FLOAT16_LARGEST,
            "headroom": HEADROOM,
            "maxima": {place: float(f"{value:.4g}") for place, value in self.maxima.items()},
        }


def calibrate(model: nn.Module, sample: Sample, vocab_size: int) -> Calibration:
    """Run ``sample`` through ``model`` (float32, of any task) and record what its layers reach."""
    maxima: dict[str, float] = {}
    with _recording(model, maxima), torch.inference_mode():
        for ids in sample.sequences:
            batch = make_batch(model, (ids.size,), vocab_size, np.random.default_rng(0))
            batch["input_ids"][: ids.size] = ids  # behind them there may be others
            model(**{name: torch.from_numpy(array) for name, array in batch.items()})
    return Calibration(sample.name, sample.tokens, maxima)


def _recording(model: nn.Module, maxima: dict[str, float]) -> AbstractContextManager[None]:
    """Record outputs of all layers, and inputs: GeGLU's products and sums of residuals are such."""

    def note(place: str, value: Tensor) -> None:
        # NaN counts as beyond everything.
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


def against_float16(calibration: Calibration, model: nn.Module) -> str | None:
    """Say what does not fit into float16, an activation or a weight; None when all do."""
    for name, parameter in model.named_parameters():
        largest = parameter.abs().max().item() if parameter.numel() else 0.0
        if largest > FLOAT16_LARGEST:
            return f"the weight {name} has {largest:,.0f}; float16 ends at {FLOAT16_LARGEST:,.0f}"
    return calibration.overflow()
