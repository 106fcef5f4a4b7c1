"""One vector for each token, from the encoder and its sentence-transformers modules."""

from __future__ import annotations

from torch import Tensor, nn

from ..families.modernbert import Encoder
from ..families.modernbert_config import ModelConfig
from ..families.query_expansion import ExpansionTokens
from .sentence_modules import TOKENS, ModulePipeline, Packing


class TokenEmbeddings(nn.Module):
    """The feature ``token_embeddings`` of a pipeline."""

    def __init__(self, config: ModelConfig, pipeline: ModulePipeline) -> None:
        """Make the encoder of ``config`` in front of ``pipeline``."""
        super().__init__()
        self.model = Encoder(config)
        self.pipeline = pipeline

    def forward(self, input_ids: Tensor, cu_seqlens: Tensor) -> Tensor:
        """-> token_embeddings [tokens, dim]."""
        return self._vectors(self.model(input_ids, cu_seqlens), cu_seqlens)

    def _vectors(self, hidden: Tensor, cu_seqlens: Tensor) -> Tensor:
        return self.pipeline(hidden, Packing(cu_seqlens))[TOKENS]


class ExpandedTokenEmbeddings(TokenEmbeddings):
    """The same, with expansion tokens that attend but are not attended to."""

    def forward(  # type: ignore[override]
        self, input_ids: Tensor, cu_seqlens: Tensor, expansions: Tensor, seen: Tensor
    ) -> Tensor:
        """-> token_embeddings [tokens, dim].

        ``expansions`` int32 [expansions, 2] and ``seen`` int32 [seen, 3] are the tensors of
        :class:`mbert.model.families.query_expansion.ExpansionTokens`.
        """
        hidden = self.model(input_ids, cu_seqlens, ExpansionTokens(expansions, seen))
        return self._vectors(hidden, cu_seqlens)
