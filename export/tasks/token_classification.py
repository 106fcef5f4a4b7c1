"""token-classification: labels of tokens."""

from __future__ import annotations

from typing import Any

from torch import nn

from mbert.model.heads.prediction_heads import TokenClassification as Head

from ..checkpoint import Checkpoint
from .base import Task


class TokenClassification(Task):
    """Logits of each token."""

    name = "token-classification"
    architectures = ("ModernBertForTokenClassification",)

    def build(self, checkpoint: Checkpoint) -> nn.Module:
        """Make transformers' token classifier."""
        return Head(checkpoint.config)

    def manifest_entries(self, checkpoint: Checkpoint) -> dict[str, Any]:
        """Add the labels."""
        return {**super().manifest_entries(checkpoint), "labels": checkpoint.config.id2label}
