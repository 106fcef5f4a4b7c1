"""One vector for each sequence, from the encoder and its sentence-transformers modules."""

from __future__ import annotations

from torch import Tensor, nn

from ..families.modernbert import Encoder
from ..families.modernbert_config import ModelConfig
from .sentence_modules import SENTENCE, ModulePipeline, Packing


class SentenceEmbedding(nn.Module):
    """The feature ``sentence_embedding`` of a pipeline."""

    def __init__(self, config: ModelConfig, pipeline: ModulePipeline) -> None:
        """Make the encoder of ``config`` in front of ``pipeline``."""
        super().__init__()
        self.model = Encoder(config)
        self.pipeline = pipeline

    def forward(self, input_ids: Tensor, cu_seqlens: Tensor) -> Tensor:
        """-> embedding [sequences, dim]."""
        return self.pipeline(self.model(input_ids, cu_seqlens), Packing(cu_seqlens))[SENTENCE]


class PromptExcludedEmbedding(SentenceEmbedding):
    """The same, with poolings that leave out the tokens of a prompt."""

    def forward(
        self,
        input_ids: Tensor,
        cu_seqlens: Tensor,
        counted_rows: Tensor | None = None,
        counted_offsets: Tensor | None = None,
    ) -> Tensor:
        """counted_*: as in :class:`Packing` -> embedding [sequences, dim]."""
        hidden = self.model(input_ids, cu_seqlens)
        return self.pipeline(hidden, Packing(cu_seqlens, counted_rows, counted_offsets))[SENTENCE]
