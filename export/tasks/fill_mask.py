"""fill-mask: the tokens that fit in place of masks."""

from __future__ import annotations

from torch import nn

from mbert.model.heads.prediction_heads import MaskedLM

from ..checkpoint import Checkpoint
from .base import Task


class FillMask(Task):
    """Vocabulary logits of the masked tokens."""

    name = "fill-mask"
    architectures = ("ModernBertForMaskedLM",)

    def build(self, checkpoint: Checkpoint) -> nn.Module:
        """Make transformers' masked language model."""
        return MaskedLM(checkpoint.config)
