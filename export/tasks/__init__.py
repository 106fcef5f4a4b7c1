"""The tasks: the module that each one traces, and the one that a checkpoint was saved for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from mbert.errors import CheckpointError
from mbert.model.families.modernbert_config import ModelConfig
from mbert.model.heads.modular_classification import text_classification, writes_scores
from mbert.model.heads.module_spec import MASK, MODULES, ModuleSpec
from mbert.model.heads.prediction_heads import (
    FeatureExtraction,
    FillMask,
    QuestionAnswering,
    TokenClassification,
)
from mbert.model.heads.sentence_embedding import sentence_similarity
from mbert.model.heads.sentence_modules import Chain
from mbert.model.heads.splade import SPLADE_POOLING, SparseEmbedding
from mbert.model.heads.token_embeddings import ExpandedMultiVector, MultiVector

from ..checkpoint.folder import Checkpoint
from ..checkpoint.multi_vector_settings import LateInteraction
from ..checkpoint.transformer_settings import check_transformer
from ..checkpoint.weights import load_encoder, load_module

Modules = Sequence[ModuleSpec]
Build = Callable[[ModelConfig, Modules], nn.Module]


def _head(module: Callable[[ModelConfig], nn.Module]) -> Build:
    """A task of transformers' own: the config says everything."""
    return lambda config, modules: module(config)


def multi_vector(config: ModelConfig, modules: Sequence[ModuleSpec]) -> MultiVector:
    """Make the module of the task, of the class that the query expansion needs.

    Raises:
        CheckpointError: no modules, or some that do not fit together.
    """
    kinds = [spec.kind for spec in modules]
    if not modules or "Pooling" in kinds:
        raise CheckpointError(
            f"{MODULES} lists {', '.join(kinds) or 'nothing'}; multi-vector needs a transformer "
            "and what makes a vector of each token, without Pooling."
        )
    expansion = LateInteraction.of(modules).expansion
    unseen = expansion is not None and not expansion.attended
    return (ExpandedMultiVector if unseen else MultiVector)(config, modules)


# Task names are Hugging Face's.
TASKS: dict[str, Build] = {
    "feature-extraction": _head(FeatureExtraction),
    "sentence-similarity": sentence_similarity,
    "fill-mask": _head(FillMask),
    "text-classification": text_classification,
    "token-classification": _head(TokenClassification),
    "question-answering": _head(QuestionAnswering),
    "sparse-embedding": SparseEmbedding,
    "multi-vector": multi_vector,
}

# By the kind of a module that only these have.
_TASK_OF_MODULE = {
    SPLADE_POOLING: "sparse-embedding",
    MASK: "multi-vector",
    "Pooling": "sentence-similarity",
}

# By the class that a checkpoint was saved from.
_TASK_OF_ARCHITECTURE = {
    "ModernBertModel": "feature-extraction",
    "ModernBertForMaskedLM": "fill-mask",
    "ModernBertForSequenceClassification": "text-classification",
    "ModernBertForTokenClassification": "token-classification",
    "ModernBertForQuestionAnswering": "question-answering",
}

_MULTIPLE_CHOICE = "ModernBertForMultipleChoice"


def default_task(checkpoint: Checkpoint) -> str:
    """The task that a checkpoint was saved for.

    Raises:
        CheckpointError: there are modules after the transformer, and none of them tells; there are
            none, and ``architectures`` names no class whose task is supported.
    """
    config, modules = checkpoint.config, checkpoint.modules
    if writes_scores(modules):
        return "text-classification"
    for spec in modules:
        if spec.kind in _TASK_OF_MODULE:
            return _TASK_OF_MODULE[spec.kind]
    if any(spec.kind != "Dropout" for spec in modules[1:]):
        raise CheckpointError(
            f"{MODULES} lists {', '.join(spec.kind for spec in modules)}, which is none of mbert's "
            f"tasks. To leave out what it does not compute, name the task: {', '.join(TASKS)}."
        )
    for name in config.architectures:
        if name in _TASK_OF_ARCHITECTURE:
            return _TASK_OF_ARCHITECTURE[name]
    if _MULTIPLE_CHOICE in config.architectures:
        raise CheckpointError(
            f"config.json: architectures is {list(config.architectures)}; no task answers multiple "
            "choice. Its head is that of a classifier with one label: set architectures to "
            "['ModernBertForSequenceClassification'] and id2label to {'0': 'choice'}, and export. "
            "rerank then scores the choices of a question; for their probabilities take classify "
            "with function_to_apply='none' on pairs of question and choice, and a softmax over "
            "the choices."
        )
    raise CheckpointError(
        f"config.json: architectures is {list(config.architectures)}; expected one of "
        f"{', '.join(_TASK_OF_ARCHITECTURE)}. Name the task: {', '.join(TASKS)}."
    )


def load_model(checkpoint: Checkpoint, task: str) -> nn.Module:
    """Build the module of ``task`` with the checkpoint's weights, float32, in eval mode.

    Raises:
        CheckpointError: no such task; a module or setting that is not supported; a weight file
            that is missing or damaged; a tensor that is missing, unexpected or of the wrong
            shape (all are named).
    """
    if task not in TASKS:
        raise CheckpointError(f"The task is {task!r}; expected one of {', '.join(TASKS)}.")
    if checkpoint.modules:
        check_transformer(task, checkpoint.modules)
    # On the meta device: the parameters are replaced by the checkpoint's, never initialised.
    with torch.device("meta"):
        model = TASKS[task](checkpoint.config, checkpoint.modules)
    load_encoder(model, checkpoint.folder)
    for part in model.children():
        if isinstance(part, Chain):
            for spec, step in zip(part.specs, part.steps, strict=True):
                load_module(step, checkpoint.folder / spec.path)
    return model.eval().requires_grad_(False)
