"""question-answering: where an answer starts and ends in a context."""

from __future__ import annotations

from torch import nn

from mbert.errors import CheckpointError
from mbert.model.heads.prediction_heads import QuestionAnswering as Head

from ..checkpoint import Checkpoint
from ..checkpoint.json_files import read_json
from .base import Task


class QuestionAnswering(Task):
    """Start and end logits of each token."""

    name = "question-answering"
    architectures = ("ModernBertForQuestionAnswering",)

    def build(self, checkpoint: Checkpoint) -> nn.Module:
        """Make transformers' question answerer."""
        return Head(checkpoint.config)

    def check(self, checkpoint: Checkpoint) -> None:
        """Raise if transformers would put the context before the question.

        Its pipeline does so for a tokenizer that pads on the left.

        Raises:
            CheckpointError: the tokenizer pads on the left.
        """
        path = checkpoint.folder / "tokenizer_config.json"
        side = read_json(path).get("padding_side", "right")
        if side != "right":
            raise CheckpointError(
                f"{path}: padding_side is {side!r}, with which the context comes before the "
                "question; mbert puts the question first. Change it to 'right' if the checkpoint "
                "was trained so."
            )
