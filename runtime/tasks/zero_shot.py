"""Zero-shot classification: labels that the caller names, scored by an NLI classifier.

Pairs, label order and scores follow the transformers pipeline zero-shot-classification.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mbert.errors import InputError

from ..activations import softmax
from ..inputs import as_sequence
from ..labels import LabelScore, print_labels
from ..model import CallOptions
from ..packing import TokenSequence
from .base import OVERFLOW, Answer, Command, CommandOption, Operation, TaskContext, beside

# Default of the transformers pipeline.
HYPOTHESIS = "This example is {}."


class ZeroShotOptions(CallOptions, total=False):
    """Options of :meth:`Classifier.zero_shot`."""

    hypothesis_template: str
    multi_label: bool
    overflow: str | None


class ZeroShot(Operation[str, list[LabelScore]]):
    """Score labels by how much a text entails a hypothesis about each."""

    def __init__(
        self,
        context: TaskContext,
        *,
        labels: Sequence[str],
        hypothesis_template: str = HYPOTHESIS,
        multi_label: bool = False,
        overflow: str | None = None,
    ) -> None:
        """Check the options of :meth:`Classifier.zero_shot`."""
        super().__init__(context)
        self.labels = list(as_sequence(labels, "labels"))
        if not self.labels or not all(isinstance(label, str) for label in self.labels):
            raise InputError(f"labels is {labels!r}; expected at least one string.")
        if not isinstance(hypothesis_template, str) or "{}" not in hypothesis_template:
            raise InputError(
                f"hypothesis_template is {hypothesis_template!r}; expected a text with {{}} in the "
                "place of the label."
            )
        self.hypotheses = [hypothesis_template.replace("{}", label) for label in self.labels]
        self.entailment = _entailment(context.manifest.labels or ())
        # Scores of a single label cannot compete with others.
        self.multi_label = multi_label or len(self.labels) == 1
        self.overflow = context.resolve_overflow(overflow)

    def encode(self, inputs: Sequence[str], first: int = 0) -> list[list[TokenSequence]]:
        """Return one sequence for each label of each text: text and hypothesis."""
        for i, text in enumerate(inputs, first):
            if not isinstance(text, str):
                raise InputError(f"Text {i} is a {type(text).__name__}; expected a string.")
        count = len(self.hypotheses)
        ids = self.context.tokenizer.encode(
            [(text, hypothesis) for text in inputs for hypothesis in self.hypotheses],
            self.overflow,
            first=first,
            strategy="only_first",
            group=count,
        )
        sequences = [TokenSequence(one) for one in ids]
        return [sequences[i : i + count] for i in range(0, len(sequences), count)]

    def decode(self, parts: Sequence[NDArray[np.float32]]) -> list[LabelScore]:
        """[labels][classes] -> labels with scores, best first."""
        logits = np.stack(parts).astype(np.float64)
        if self.multi_label:
            contradiction = -1 if self.entailment == 0 else 0
            scores = softmax(logits[:, [contradiction, self.entailment]])[:, 1]
        else:
            scores = softmax(logits[:, self.entailment])
        order = np.argsort(-scores, kind="stable")
        return [LabelScore(self.labels[i], float(scores[i])) for i in order]


def _entailment(labels: Sequence[str]) -> int:
    """Return the index of the entailment label."""
    for i, label in enumerate(labels):
        if label.lower().startswith("entail"):
            return i
    raise InputError(
        f"The bundle's labels are {', '.join(labels[:5])}; zero-shot classification needs an NLI "
        "classifier, with a label that starts with 'entail'. Set id2label of such a checkpoint, "
        "and export it again."
    )


_LABELS = CommandOption("labels", "Comma-separated labels to choose from: zero-shot.")
_TEMPLATE = CommandOption("hypothesis_template", f"Of zero-shot. Default: {HYPOTHESIS!r}.")
_MULTI_LABEL = CommandOption(
    "multi_label", "Score each zero-shot label by itself: several can be true.", is_flag=True
)


def _answers(model: Any, texts: Iterator[str], *, labels: str, **options: Any) -> Iterator[Answer]:
    names = [name.strip() for name in labels.split(",") if name.strip()]
    for text, found in beside(
        texts, lambda several: model.zero_shot_iter(several, names, **options)
    ):
        yield print_labels(text, found)


ZERO_SHOT = Command(_answers, (_LABELS, _TEMPLATE, _MULTI_LABEL, OVERFLOW), required=_LABELS)
