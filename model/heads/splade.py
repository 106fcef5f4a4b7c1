"""SPLADE: a weight for every token of the vocabulary, from the logits of fill-mask."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from mbert.errors import CheckpointError

from ..families.modernbert_config import ModelConfig
from ..operators.pooling import varlen_pooling
from .module_spec import MLM_TRANSFORMER, MODULES, WIDTH_KEYS, ModuleSpec
from .prediction_heads import FillMask
from .sentence_modules import TOKENS

SPLADE_POOLING = "SpladePooling"

# Columns of the vocabulary whose logits are held at once: tokens x BLOCK values.
BLOCK = 2048

_STRATEGIES = ("max", "sum")
# How often log(1 + x) follows the rectifier.
_LOGARITHMS = {"relu": 1, "log1p_relu": 2}


class SparseEmbedding(FillMask):
    """The largest (or the sum) over a sequence's tokens of log(1 + relu(logit)).

    SPLADE-max of Formal et al. 2021 (arXiv 2109.10086, eq. 6); the sum is of its predecessor.
    """

    def __init__(self, config: ModelConfig, modules: Sequence[ModuleSpec]) -> None:
        """Make the modules for ``config``; ``modules`` may be none, then it is the maximum.

        Raises:
            CheckpointError: modules that do more, or a setting that is not known.
        """
        super().__init__(config)
        self.strategy, self.logarithms = "max", 1
        if not modules:
            return
        _check_transformer(modules[0])
        kinds = [spec.kind for spec in modules[1:]]
        if kinds != [SPLADE_POOLING]:
            raise CheckpointError(
                f"{MODULES}: {', '.join(kinds) or 'nothing'} follows the transformer; expected "
                f"{SPLADE_POOLING} alone."
            )
        spec = modules[1]
        spec.need_only(("pooling_strategy", "activation_function", "chunk_size", *WIDTH_KEYS))
        self.strategy = spec.text("pooling_strategy", "max")
        if self.strategy not in _STRATEGIES:
            raise spec.unsuited("pooling_strategy", f"one of {', '.join(_STRATEGIES)}")
        activation = spec.text("activation_function", "relu")
        if activation not in _LOGARITHMS:
            raise spec.unsuited("activation_function", f"one of {', '.join(_LOGARITHMS)}")
        self.logarithms = _LOGARITHMS[activation]
        for key in WIDTH_KEYS:
            if spec.settings.get(key) not in (None, config.vocab_size):
                raise spec.unsuited(key, f"the vocabulary's {config.vocab_size}")

    def forward(self, input_ids: Tensor, cu_seqlens: Tensor) -> Tensor:  # type: ignore[override]
        """-> weights [sequences, vocab]; an empty sequence gives zeros."""
        features = self.head(self.model(input_ids, cu_seqlens))
        vocab = self.decoder.out_features
        blocks = [
            self._pooled(features, cu_seqlens, begin, min(begin + BLOCK, vocab))
            for begin in range(0, vocab, BLOCK)
        ]
        pooled = torch.cat(blocks, dim=-1) if len(blocks) > 1 else blocks[0]
        # Rising, so the largest logit has the largest weight.
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


def _check_transformer(spec: ModuleSpec) -> None:
    """Refuse a first module that is more than the logits of fill-mask on a text's tokens."""
    is_older = spec.kind == MLM_TRANSFORMER
    task = spec.text("transformer_task", "fill-mask" if is_older else "feature-extraction")
    if task != "fill-mask":
        raise spec.unsuited("transformer_task", f"fill-mask before {SPLADE_POOLING}")
    spec.need_one_of("module_output_name", [TOKENS])
