"""sentence-similarity: the embeddings of a SentenceTransformer checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from mbert.errors import CheckpointError
from mbert.model.heads.sentence_embedding import PromptExcludedEmbedding, SentenceEmbedding
from mbert.model.heads.sentence_modules import SENTENCE

from ..checkpoint import Checkpoint
from ..checkpoint.embedding_settings import embedding_settings
from ..checkpoint.modules_json import MODULES, ModuleSpec
from ..checkpoint.sentence_modules import build_pipeline
from ..checkpoint.sentence_settings import longest_text
from .base import Task


class SentenceSimilarity(Task):
    """One vector for each text, as sentence-transformers computes it."""

    name = "sentence-similarity"

    def is_made_by(self, modules: Sequence[ModuleSpec]) -> bool:
        """Return whether the modules pool."""
        return any(spec.kind == "Pooling" for spec in modules)

    def build(self, checkpoint: Checkpoint) -> nn.Module:
        """Make the encoder and its modules, which have to give a vector for each sequence."""
        modules = checkpoint.modules
        if not modules:
            raise CheckpointError(
                f"The checkpoint has no {MODULES}: sentence-similarity takes the folder that "
                "sentence-transformers saves. Choose feature-extraction, which pools hidden states."
            )
        pipeline = build_pipeline(modules, checkpoint.config.hidden_size)
        if SENTENCE not in pipeline.widths:
            raise CheckpointError(
                f"{MODULES} lists nothing that makes one vector of a sequence: expected a Pooling."
            )
        excludes = any(not spec.flag("include_prompt", True) for spec in modules)
        head = PromptExcludedEmbedding if excludes else SentenceEmbedding
        return head(checkpoint.config, pipeline)

    def longest_text(self, checkpoint: Checkpoint) -> int:
        """Return where sentence-transformers cuts a text."""
        return longest_text(checkpoint.folder, checkpoint.config, checkpoint.modules)

    def manifest_entries(self, checkpoint: Checkpoint) -> dict[str, Any]:
        """Add the embedding settings."""
        settings = embedding_settings(checkpoint.folder, checkpoint.modules, "cosine")
        return {**super().manifest_entries(checkpoint), "embedding": settings}
