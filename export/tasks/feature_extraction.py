"""feature-extraction: the encoder's hidden states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from mbert.model.heads.prediction_heads import EncoderOnly
from mbert.runtime.tasks.embedding import POOLINGS

from ..checkpoint import Checkpoint
from ..checkpoint.modules_json import IGNORED, ModuleSpec
from ..checkpoint.sentence_modules import normalizes_sentence, pooling_modes
from .base import Task


class FeatureExtraction(Task):
    """Hidden states, which the runtime pools."""

    name = "feature-extraction"
    architectures = ("ModernBertModel",)

    def build(self, checkpoint: Checkpoint) -> nn.Module:
        """Make the encoder."""
        return EncoderOnly(checkpoint.config)

    def manifest_entries(self, checkpoint: Checkpoint) -> dict[str, Any]:
        """Add the checkpoint's pooling."""
        entries = super().manifest_entries(checkpoint)
        return {**entries, "pooling": pooling_of(checkpoint.modules)}


def pooling_of(modules: Sequence[ModuleSpec]) -> str | None:
    """Return how a checkpoint with these modules pools hidden states.

    Returns:
        One of ``POOLINGS``; the mean for a checkpoint without modules. None if the modules do more
        than pool the hidden states that way.

    Raises:
        CheckpointError: a pooling's settings are malformed.
    """
    if not modules:
        return "mean"
    # The runtime's caller decides whether vectors are normalized.
    pooling = [s for s in modules[1:] if s.kind not in IGNORED and not normalizes_sentence(s)]
    if [spec.kind for spec in pooling] != ["Pooling"] or not pooling[0].flag(
        "include_prompt", True
    ):
        return None
    modes = pooling_modes(pooling[0])
    return modes[0] if len(modes) == 1 and modes[0] in POOLINGS else None
