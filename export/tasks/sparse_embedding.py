"""sparse-embedding: SPLADE's weights for the tokens of the vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from mbert.errors import CheckpointError
from mbert.model.heads.sentence_modules import TOKENS
from mbert.model.heads.splade import STRATEGIES, Splade

from ..checkpoint import Checkpoint
from ..checkpoint.embedding_settings import embedding_settings
from ..checkpoint.modules_json import MLM_TRANSFORMER, MODULES, SPLADE_POOLING, ModuleSpec
from ..checkpoint.sentence_modules import WIDTH_KEYS
from ..checkpoint.sentence_settings import longest_text
from .base import Task

# How many times log(1 + x) is applied, by activation_function.
_LOGARITHMS = {"relu": 1, "log1p_relu": 2}


class SparseEmbedding(Task):
    """One weight for each token of the vocabulary."""

    name = "sparse-embedding"
    # Vectors are as long as the vocabulary, which bounds the memory of a call's output.
    max_sequences = 256

    def is_made_by(self, modules: Sequence[ModuleSpec]) -> bool:
        """Return whether the modules pool as SPLADE does."""
        return any(spec.kind == SPLADE_POOLING for spec in modules)

    def build(self, checkpoint: Checkpoint) -> nn.Module:
        """Make SPLADE from a SparseEncoder's modules, or SPLADE-max from a fill-mask checkpoint."""
        return build_splade(checkpoint)

    def longest_text(self, checkpoint: Checkpoint) -> int:
        """Return where sentence-transformers cuts a text."""
        return longest_text(checkpoint.folder, checkpoint.config, checkpoint.modules)

    def manifest_entries(self, checkpoint: Checkpoint) -> dict[str, Any]:
        """Add the embedding settings."""
        settings = embedding_settings(checkpoint.folder, checkpoint.modules, "dot")
        return {**super().manifest_entries(checkpoint), "embedding": settings}


def build_splade(checkpoint: Checkpoint) -> Splade:
    """Make the head that the modules describe; without modules, the maximum.

    Raises:
        CheckpointError: the modules do more, or a setting is not known.
    """
    config, modules = checkpoint.config, checkpoint.modules
    if not modules:
        return Splade(config)
    _check_transformer(modules[0])
    kinds = [spec.kind for spec in modules[1:]]
    if kinds != [SPLADE_POOLING]:
        raise CheckpointError(
            f"{MODULES}: {', '.join(kinds) or 'nothing'} follows the transformer; expected "
            f"{SPLADE_POOLING} alone."
        )
    spec = modules[1]
    spec.need_only(("pooling_strategy", "activation_function", "chunk_size", *WIDTH_KEYS))
    strategy = spec.text("pooling_strategy", "max")
    if strategy not in STRATEGIES:
        raise spec.unsuited("pooling_strategy", f"one of {', '.join(STRATEGIES)}")
    activation = spec.text("activation_function", "relu")
    if activation not in _LOGARITHMS:
        raise spec.unsuited("activation_function", f"one of {', '.join(_LOGARITHMS)}")
    for key in WIDTH_KEYS:
        if spec.settings.get(key) not in (None, config.vocab_size):
            raise spec.unsuited(key, f"the vocabulary's {config.vocab_size}")
    return Splade(config, strategy, _LOGARITHMS[activation])


def _check_transformer(spec: ModuleSpec) -> None:
    """Raise unless the first module gives masked-language-model logits of a text's tokens."""
    default = "fill-mask" if spec.kind == MLM_TRANSFORMER else "feature-extraction"
    if spec.text("transformer_task", default) != "fill-mask":
        raise spec.unsuited("transformer_task", f"fill-mask before {SPLADE_POOLING}")
    spec.need_one_of("module_output_name", [TOKENS])
