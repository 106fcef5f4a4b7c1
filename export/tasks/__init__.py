"""The tasks: one file each, and the choice of the task that a checkpoint was saved for."""

from __future__ import annotations

import torch
from torch import nn

from mbert.errors import CheckpointError
from mbert.model.heads.sentence_modules import ModulePipeline

from ..checkpoint import Checkpoint
from ..checkpoint.modules_json import IGNORED, MODULES
from ..checkpoint.sentence_modules import load_pipeline
from ..checkpoint.transformer_settings import check_transformer
from ..checkpoint.weights import load_encoder
from .base import Task
from .feature_extraction import FeatureExtraction
from .fill_mask import FillMask
from .multi_vector import MultiVector
from .question_answering import QuestionAnswering
from .sentence_similarity import SentenceSimilarity
from .sparse_embedding import SparseEmbedding
from .text_classification import TextClassification
from .token_classification import TokenClassification

__all__ = ["TASKS", "Task", "default_task", "find_task", "load_model"]

_TASKS: tuple[Task, ...] = (
    FeatureExtraction(),
    # Before sentence-similarity, because a cross encoder's modules may include a Pooling.
    TextClassification(),
    SparseEmbedding(),
    MultiVector(),
    SentenceSimilarity(),
    FillMask(),
    TokenClassification(),
    QuestionAnswering(),
)
TASKS = {task.name: task for task in _TASKS}

_MULTIPLE_CHOICE = "ModernBertForMultipleChoice"


def find_task(name: str) -> Task:
    """Return the task of this name.

    Raises:
        CheckpointError: no task has it.
    """
    if name not in TASKS:
        raise CheckpointError(f"The task is {name!r}; expected one of {', '.join(TASKS)}.")
    return TASKS[name]


def default_task(checkpoint: Checkpoint) -> str:
    """Return the name of the task that a checkpoint was saved for.

    Raises:
        CheckpointError: its modules make no task, or it has none and ``architectures`` in
            config.json names no class with a task.
    """
    modules, architectures = checkpoint.modules, checkpoint.config.architectures
    for task in _TASKS:
        if task.is_made_by(modules):
            return task.name
    if any(spec.kind not in IGNORED for spec in modules[1:]):
        raise CheckpointError(
            f"{MODULES} lists {', '.join(spec.kind for spec in modules)}, which "
            f"make no task of mbert. To export without them, name the task: {', '.join(TASKS)}."
        )
    of_architecture = {name: task.name for task in _TASKS for name in task.architectures}
    for name in architectures:
        if name in of_architecture:
            return of_architecture[name]
    if _MULTIPLE_CHOICE in architectures:
        raise CheckpointError(
            f"config.json: architectures is {list(architectures)}; no task answers multiple "
            "choice. Its head is that of a classifier with one label: set architectures to "
            "['ModernBertForSequenceClassification'] and id2label to {'0': 'choice'}, and export. "
            "rerank then scores the choices of a question; for their probabilities take classify "
            "with function_to_apply='none' on pairs of question and choice, and a softmax over "
            "the choices."
        )
    raise CheckpointError(
        f"config.json: architectures is {list(architectures)}; expected one of "
        f"{', '.join(of_architecture)}. Name the task: {', '.join(TASKS)}."
    )


def load_model(checkpoint: Checkpoint, task: str) -> nn.Module:
    """Build the module of ``task`` with the checkpoint's weights, float32, in eval mode.

    Raises:
        CheckpointError: the task is unknown; a module or setting is not supported; a weight file is
            missing or damaged; tensors are missing, unexpected or of the wrong shape (all are
            named).
    """
    found = find_task(task)
    if checkpoint.modules:
        check_transformer(checkpoint.modules, found.has_roles)
    # On the meta device: the checkpoint's tensors replace the parameters, which need no values.
    with torch.device("meta"):
        model = found.build(checkpoint)
    load_encoder(model, checkpoint.folder)
    pipeline = getattr(model, "pipeline", None)
    if isinstance(pipeline, ModulePipeline):
        load_pipeline(pipeline, checkpoint.modules, checkpoint.folder)
    return model.eval().requires_grad_(False)
