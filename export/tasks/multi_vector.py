"""multi-vector: ColBERT's vector for each token of queries and documents."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from mbert.errors import CheckpointError
from mbert.model.heads.token_embeddings import ExpandedTokenEmbeddings, TokenEmbeddings
from mbert.runtime.manifest import Limits

from ..checkpoint import Checkpoint
from ..checkpoint.modules_json import MASK, MODULES, ModuleSpec
from ..checkpoint.multi_vector_settings import (
    attends_to_expansion,
    check_multi_vector_settings,
    multi_vector_settings,
)
from ..checkpoint.sentence_modules import build_pipeline
from .base import Task


class MultiVector(Task):
    """One vector for each token, with settings for queries and for documents."""

    name = "multi-vector"
    has_roles = True

    def is_made_by(self, modules: Sequence[ModuleSpec]) -> bool:
        """Return whether the modules select the vectors of a document's tokens."""
        return any(spec.kind == MASK for spec in modules)

    def build(self, checkpoint: Checkpoint) -> nn.Module:
        """Make the encoder and its modules, with inputs for the expansion if it needs them."""
        modules = checkpoint.modules
        kinds = [spec.kind for spec in modules]
        if not modules or "Pooling" in kinds:
            raise CheckpointError(
                f"{MODULES} lists {', '.join(kinds) or 'nothing'}; multi-vector needs a "
                "transformer and what makes a vector of each token, without Pooling."
            )
        check_multi_vector_settings(modules)
        # The runtime leaves out the vectors that MultiVectorMask removes.
        computed = [spec for spec in modules if spec.kind != MASK]
        pipeline = build_pipeline(computed, checkpoint.config.hidden_size)
        head = TokenEmbeddings if attends_to_expansion(modules) else ExpandedTokenEmbeddings
        return head(checkpoint.config, pipeline)

    def tokenizer_entries(
        self, checkpoint: Checkpoint, tokenizer_file: Path, mask: int | None, limits: Limits
    ) -> dict[str, Any]:
        """Return the settings of queries and documents."""
        settings = multi_vector_settings(
            checkpoint.folder, checkpoint.config, checkpoint.modules, tokenizer_file, mask, limits
        )
        return {"late_interaction": settings}
