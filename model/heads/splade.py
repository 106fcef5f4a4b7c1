"""SPLADE: a weight for every token of the vocabulary, from masked-language-model logits."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..families.modernbert_config import ModelConfig
from ..operators.pooling import varlen_pooling
from .prediction_heads import MaskedLM

STRATEGIES = ("max", "sum")

# Columns of the vocabulary whose logits are held at once: tokens x BLOCK values.
BLOCK = 2048


class Splade(MaskedLM):
    """The largest (or the sum) over a sequence's tokens of log(1 + relu(logit)).

    The maximum is SPLADE-max of Formal et al. 2021 (arXiv 2109.10086, eq. 6); the sum is that of
    SPLADE (arXiv 2107.05720).
    """

    def __init__(self, config: ModelConfig, strategy: str = "max", logarithms: int = 1) -> None:
        """Make the modules for ``config``.

        Args:
            config: of the encoder and the masked-language-model head.
            strategy: one of ``STRATEGIES``.
            logarithms: how many times log(1 + x) is applied after relu: 1 or 2.
        """
        super().__init__(config)
        self.strategy, self.logarithms = strategy, logarithms

    def forward(self, input_ids: Tensor, cu_seqlens: Tensor) -> Tensor:  # type: ignore[override]
        """-> weights [sequences, vocab]; an empty sequence gives zeros."""
        features = self.head(self.model(input_ids, cu_seqlens))
        vocab = self.decoder.out_features
        blocks = [
            self._pooled(features, cu_seqlens, begin, min(begin + BLOCK, vocab))
            for begin in range(0, vocab, BLOCK)
        ]
        pooled = torch.cat(blocks, dim=-1) if len(blocks) > 1 else blocks[0]
        # Monotonic, so the largest logit has the largest weight.
        return self._weights(pooled) if self.strategy == "max" else pooled

    def _pooled(self, features: Tensor, cu_seqlens: Tensor, begin: int, end: int) -> Tensor:
        bias = self.decoder.bias[begin:end] if self.decoder.bias is not None else None
        logits = F.linear(features, self.decoder.weight[begin:end], bias)
        if self.strategy == "max":
            return varlen_pooling(logits, cu_seqlens, "max")
        lengths = cu_seqlens.diff().to(logits.dtype)
        return varlen_pooling(self._weights(logits), cu_seqlens, "mean") * lengths[:, None]

    def _weights(self, logits: Tensor) -> Tensor:
        weights = logits.relu()
        for _ in range(self.logarithms):
            weights = weights.log1p()
        return weights
