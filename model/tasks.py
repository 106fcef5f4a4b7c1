"""The tasks: the module that each one traces, and the one that a checkpoint was saved for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn

from mbert.errors import CheckpointError

from .config import ModelConfig
from .heads import (
    FeatureExtraction,
    FillMask,
    QuestionAnswering,
    TokenClassification,
)
from .late_interaction import MASK, multi_vector
from .modules import MODULES, ModuleSpec
from .reranker import text_classification, writes_scores
from .sentence import sentence_similarity
from .sparse import SPLADE_POOLING, SparseEmbedding

Modules = Sequence[ModuleSpec]
Build = Callable[[ModelConfig, Modules], nn.Module]


def _head(module: Callable[[ModelConfig], nn.Module]) -> Build:
    """A task of transformers' own: the config says everything."""
    return lambda config, modules: module(config)


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


def default_task(config: ModelConfig, modules: Modules) -> str:
    """The task that a checkpoint was saved for.

    Args:
        config: of the encoder.
        modules: what the folder's modules.json lists; none where it has no such file.

    Raises:
        CheckpointError: there are modules after the transformer, and none of them tells; there are
            none, and ``architectures`` names no class whose task is supported.
    """
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
