"""Scores of each sequence, from the encoder and its sentence-transformers modules."""

from __future__ import annotations

from torch import Tensor, nn

from ..families.modernbert import Encoder
from ..families.modernbert_config import ModelConfig
from .sentence_modules import SCORES, ModulePipeline, Packing


class ModularClassification(nn.Module):
    """The feature ``scores`` of a pipeline."""

    def __init__(self, config: ModelConfig, pipeline: ModulePipeline) -> None:
        """Make the encoder of ``config`` in front of ``pipeline``."""
        super().__init__()
        self.model = Encoder(config)
        self.pipeline = pipeline

    def forward(self, input_ids: Tensor, cu_seqlens: Tensor) -> Tensor:
        """-> logits [sequences, labels]."""
        return self.pipeline(self.model(input_ids, cu_seqlens), Packing(cu_seqlens))[SCORES]
