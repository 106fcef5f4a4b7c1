"""text-classification: labels of texts and pairs, and the scores of cross encoders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from mbert.errors import CheckpointError
from mbert.model.heads.modular_classification import ModularClassification
from mbert.model.heads.prediction_heads import SequenceClassification
from mbert.model.heads.sentence_modules import SCORES

from ..checkpoint import Checkpoint
from ..checkpoint.modules_json import IGNORED, MODULES, TRANSFORMER, ModuleSpec
from ..checkpoint.reranking_settings import reranking_settings
from ..checkpoint.sentence_modules import build_pipeline
from ..checkpoint.sentence_settings import longest_text
from .base import Task


class TextClassification(Task):
    """Logits of each text; a checkpoint with one label is a reranker."""

    name = "text-classification"
    architectures = ("ModernBertForSequenceClassification",)

    def is_made_by(self, modules: Sequence[ModuleSpec]) -> bool:
        """Return whether the modules write a cross encoder's scores."""
        return any(spec.settings.get("module_output_name") == SCORES for spec in modules)

    def build(self, checkpoint: Checkpoint) -> nn.Module:
        """Make transformers' classifier, or the encoder and a CrossEncoder's modules."""
        if _is_modular(checkpoint.modules):
            return _build_modular(checkpoint)
        return SequenceClassification(checkpoint.config)

    def longest_text(self, checkpoint: Checkpoint) -> int:
        """Return where sentence-transformers cuts a pair, for a reranker."""
        if len(labels_of(checkpoint)) == 1:
            return longest_text(checkpoint.folder, checkpoint.config, checkpoint.modules)
        return super().longest_text(checkpoint)

    def manifest_entries(self, checkpoint: Checkpoint) -> dict[str, Any]:
        """Add labels and problem type; for a reranker, its settings."""
        labels = labels_of(checkpoint)
        return {
            **super().manifest_entries(checkpoint),
            "labels": labels,
            "problem_type": checkpoint.config.problem_type,
            "reranking": reranking_settings(checkpoint.folder) if len(labels) == 1 else None,
        }


def labels_of(checkpoint: Checkpoint) -> tuple[str, ...]:
    """Return the labels; scores of modules get transformers' default names.

    Raises:
        CheckpointError: as :func:`mbert.export.checkpoint.sentence_modules.build_pipeline`.
    """
    if not _is_modular(checkpoint.modules):
        return checkpoint.config.id2label
    with torch.device("meta"):
        pipeline = build_pipeline(checkpoint.modules, checkpoint.config.hidden_size)
    return tuple(f"LABEL_{i}" for i in range(pipeline.widths.get(SCORES, 0)))


def _is_modular(modules: Sequence[ModuleSpec]) -> bool:
    """Return whether modules follow the transformer, which then is an encoder alone."""
    return any(spec.kind not in (TRANSFORMER, *IGNORED) for spec in modules)


def _build_modular(checkpoint: Checkpoint) -> ModularClassification:
    modules = checkpoint.modules
    pipeline = build_pipeline(modules, checkpoint.config.hidden_size)
    if SCORES not in pipeline.features_of_sequences():
        raise CheckpointError(
            f"{MODULES} lists nothing that makes scores of a sequence: expected a Pooling and a "
            f"Dense with module_output_name {SCORES!r}."
        )
    if not all(spec.flag("include_prompt", True) for spec in modules):
        raise CheckpointError(
            f"{MODULES}: Pooling has include_prompt false, which text-classification does not "
            "compute: a prompt's tokens count like any other."
        )
    return ModularClassification(checkpoint.config, pipeline)
