"""What the export of one task is: a PyTorch module and entries of the manifest."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from torch import nn

from mbert.runtime.manifest import Limits

from ..checkpoint import Checkpoint
from ..checkpoint.modules_json import ModuleSpec


class Task(ABC):
    """One task of the export; subclasses are in one file each.

    Attributes:
        name: Hugging Face's name of the task.
        architectures: class names in config.json's ``architectures`` whose checkpoints get this
            task by default.
        has_roles: whether settings of queries and documents are known in sentence-transformers'
            Transformer.
        max_sequences: of one call of the graph. A bound on memory: pooling in standard operators
            makes a matrix of sequences x tokens.
    """

    name: ClassVar[str]
    architectures: ClassVar[tuple[str, ...]] = ()
    has_roles: ClassVar[bool] = False
    max_sequences: ClassVar[int] = 2048

    def is_made_by(self, modules: Sequence[ModuleSpec]) -> bool:
        """Return whether checkpoints with these modules get this task by default."""
        return False

    @abstractmethod
    def build(self, checkpoint: Checkpoint) -> nn.Module:
        """Make the module that the export traces, without weights.

        Its encoder is ``model``; its sentence-transformers modules, if any, are ``pipeline``.

        Raises:
            CheckpointError: the checkpoint's modules do not fit the task.
        """

    def check(self, checkpoint: Checkpoint) -> None:
        """Raise unless the files beside the weights fit the task.

        Raises:
            CheckpointError: one of them does not.
        """
        return None

    def longest_text(self, checkpoint: Checkpoint) -> int:
        """Return the tokens of the longest sequence unless the user sets a limit."""
        return checkpoint.config.max_position_embeddings

    def manifest_entries(self, checkpoint: Checkpoint) -> dict[str, Any]:
        """Return the entries of the manifest that are specific to the task, by field.

        Raises:
            CheckpointError: a setting is malformed or not supported.
        """
        return {"pooling": None, "labels": None, "problem_type": None}

    def tokenizer_entries(
        self, checkpoint: Checkpoint, tokenizer_file: Path, mask: int | None, limits: Limits
    ) -> dict[str, Any]:
        """Return the entries of the manifest that need the bundle's tokenizer, by field.

        Args:
            checkpoint: that is exported.
            tokenizer_file: the bundle's tokenizer.json; it may be absent.
            mask: id of the mask token; None if the tokenizer names none.
            limits: of the bundle.

        Raises:
            CheckpointError: a setting names a token that the tokenizer does not have.
        """
        return {}
