"""Text classification: labels with scores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

from mbert.errors import InputError

from ..activations import Function, identity, sigmoid, softmax
from ..engine import Rows
from ..inputs import check_choice, check_top_k
from ..labels import LabelScore, label_scores, print_labels
from ..manifest import Manifest
from ..model import LOOK_AHEAD, CallOptions, Model
from ..packing import TokenSequence
from ..tokenization import Text
from .base import OVERFLOW, TOP_K, Answer, Command, Operation, TaskContext, beside
from .zero_shot import HYPOTHESIS, ZERO_SHOT, ZeroShot, ZeroShotOptions

if TYPE_CHECKING:
    from typing_extensions import Unpack

# By the names of the transformers pipeline.
FUNCTIONS: dict[str, Function] = {"softmax": softmax, "sigmoid": sigmoid, "none": identity}


class ClassifyOptions(CallOptions, total=False):
    """Options of :meth:`Classifier.classify`."""

    top_k: int | None
    function_to_apply: str | None
    overflow: str | None


class Classify(Operation[Text, list[LabelScore]]):
    """Score the labels of texts or pairs."""

    def __init__(
        self,
        context: TaskContext,
        *,
        top_k: int | None = None,
        function_to_apply: str | None = None,
        overflow: str | None = None,
    ) -> None:
        """Check the options of :meth:`Classifier.classify`."""
        super().__init__(context)
        check_top_k(top_k)
        self.top_k = top_k
        self.labels = context.manifest.labels or ()
        name = function_to_apply or default_function(context.manifest)
        self.function = FUNCTIONS[check_choice("function_to_apply", name, FUNCTIONS)]
        self.overflow = context.resolve_overflow(overflow)

    def encode(self, inputs: Sequence[Text], first: int = 0) -> list[list[TokenSequence]]:
        """Return one sequence for each text or pair."""
        if isinstance(inputs, tuple) and len(inputs) == 2 and all(map(_is_text, inputs)):
            raise InputError(
                "A tuple of two strings could be a pair or two texts. Pass a list: [(a, b)] for a "
                "pair, [a, b] for two texts."
            )
        ids = self.context.tokenizer.encode(inputs, self.overflow, first=first)
        return [[TokenSequence(sequence)] for sequence in ids]

    def reduce(self, rows: Rows, sequence: TokenSequence) -> list[LabelScore]:
        """[labels] -> labels with scores, best first."""
        return label_scores(rows[0], self.labels, self.function)[: self.top_k]


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def default_function(manifest: Manifest) -> str:
    """Choose the activation as the transformers pipeline does.

    None for a regression; a sigmoid for a single label or if ``problem_type`` is
    multi_label_classification; else softmax over the labels.
    """
    if manifest.problem_type == "regression":
        return "none"
    if manifest.problem_type == "multi_label_classification" or len(manifest.labels or ()) == 1:
        return "sigmoid"
    return "softmax"


class Classifier(Model):
    """Text classification: bundles for text-classification."""

    @overload
    def classify(  # type: ignore[overload-overlap]
        self, texts: str, **options: Unpack[ClassifyOptions]
    ) -> list[LabelScore]: ...
    @overload
    def classify(
        self, texts: Iterable[Text], **options: Unpack[ClassifyOptions]
    ) -> list[list[LabelScore]]: ...
    def classify(
        self,
        texts: str | Iterable[Text],
        *,
        top_k: int | None = None,
        function_to_apply: str | None = None,
        overflow: str | None = None,
        batch_tokens: int | None = None,
        progress: bool = False,
    ) -> Any:
        """Classify texts or pairs of texts.

        Args:
            texts: one text, or several texts or pairs (tuples of two strings).
            top_k: number of labels for each text; None: all.
            function_to_apply: activation of the logits, as in the transformers pipeline:
                "softmax", "sigmoid" or "none"; None: "none" for a regression, "sigmoid" for one
                label or a multi-label classifier, else "softmax".
            overflow: for a text that is too long: "error" or "truncate"; None: the model's.
            batch_tokens: tokens of a packed batch; None: 2,048 on a CPU.
            progress: show a progress bar on standard error if that is a terminal.

        Returns:
            For each text its labels with scores, best first. For a single string, that string's.

        Raises:
            InputError: a text that is too long, or an invalid option.
        """
        operation = Classify(
            self.context, top_k=top_k, function_to_apply=function_to_apply, overflow=overflow
        )
        return self._apply_to_texts(operation, texts, batch_tokens, progress)

    def classify_iter(
        self,
        texts: Iterable[Text],
        *,
        look_ahead: int = LOOK_AHEAD,
        **options: Unpack[ClassifyOptions],
    ) -> Iterator[list[LabelScore]]:
        """Classify any number of texts in bounded memory; see :meth:`Model.apply_iter`."""
        return self._stream(Classify, texts, look_ahead, options)

    @overload
    def zero_shot(  # type: ignore[overload-overlap]
        self, texts: str, labels: Sequence[str], **options: Unpack[ZeroShotOptions]
    ) -> list[LabelScore]: ...
    @overload
    def zero_shot(
        self, texts: Iterable[str], labels: Sequence[str], **options: Unpack[ZeroShotOptions]
    ) -> list[list[LabelScore]]: ...
    def zero_shot(
        self,
        texts: str | Iterable[str],
        labels: Sequence[str],
        *,
        hypothesis_template: str = HYPOTHESIS,
        multi_label: bool = False,
        overflow: str | None = None,
        batch_tokens: int | None = None,
        progress: bool = False,
    ) -> Any:
        """Classify texts by labels that you name; needs an NLI checkpoint.

        The model reads each text with a hypothesis about each label, as the transformers pipeline
        zero-shot-classification does.

        Args:
            texts: one text or several; no pairs.
            labels: the labels to choose from.
            hypothesis_template: the hypothesis, with {} in the place of the label.
            multi_label: score each label by itself, entailment against contradiction, so that
                several can be true; else the scores of all labels add up to 1. A single label is
                always scored by itself.
            overflow: for a pair that is too long: "error", or "truncate", which shortens the text;
                None: the model's.
            batch_tokens: tokens of a packed batch; None: 2,048 on a CPU.
            progress: show a progress bar on standard error if that is a terminal.

        Returns:
            For each text its labels with scores, best first. For a single string, that string's.

        Raises:
            InputError: no label of the bundle starts with "entail"; a text that is too long; or an
                invalid option.
        """
        operation = ZeroShot(
            self.context,
            labels=labels,
            hypothesis_template=hypothesis_template,
            multi_label=multi_label,
            overflow=overflow,
        )
        return self._apply_to_texts(operation, texts, batch_tokens, progress)

    def zero_shot_iter(
        self,
        texts: Iterable[str],
        labels: Sequence[str],
        *,
        look_ahead: int = LOOK_AHEAD,
        **options: Unpack[ZeroShotOptions],
    ) -> Iterator[list[LabelScore]]:
        """Do :meth:`zero_shot` for any number of texts; see :meth:`Model.apply_iter`."""
        return self._stream(ZeroShot, texts, look_ahead, {**options, "labels": labels})


def _answers(model: Classifier, texts: Iterator[str], **options: Any) -> Iterator[Answer]:
    for text, labels in beside(texts, lambda several: model.classify_iter(several, **options)):
        yield print_labels(text, labels)


CLASSIFY = Command(_answers, (TOP_K, OVERFLOW))
Classifier.commands = (CLASSIFY, ZERO_SHOT)
