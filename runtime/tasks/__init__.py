"""Tasks, one file each: settings, encode, decode, results, methods and commands."""

from ..model import Model
from . import (
    embedding,
    fill_mask,
    multi_vector,
    question_answering,
    reranking,
    sparse_embedding,
    token_classification,
)
from .base import Command, Task

_MODULES = (
    embedding,
    fill_mask,
    reranking,
    token_classification,
    question_answering,
    sparse_embedding,
    multi_vector,
)

# By Hugging Face's name.
TASKS: dict[str, Task] = {task.name: task for module in _MODULES for task in module.TASKS}

MODELS: tuple[type[Model], ...] = tuple(model for module in _MODULES for model in module.MODELS)
# Every command of `mbert run`.
COMMANDS: tuple[Command, ...] = tuple(command for model in MODELS for command in model.commands)
