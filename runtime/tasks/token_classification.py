"""Token classification: entities with their offsets in the text.

Strategies, word boundaries and scores follow the transformers pipeline.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from mbert.errors import InputError

from ..activations import softmax
from ..engine import Rows
from ..inputs import check_choice
from ..model import LOOK_AHEAD, CallOptions, Model
from ..packing import TokenSequence
from ..tokenization import TokenizedText
from ..windows import OVERFLOWS, cut
from .base import (
    OVERFLOW,
    STRIDE,
    Answer,
    Command,
    CommandOption,
    Operation,
    Task,
    TaskContext,
    beside,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack

FloatArray = NDArray[np.float32]

# Label of tokens outside any entity, by convention.
IGNORED = ("O",)


@dataclass(frozen=True)
class Entity:
    """A part of a text, ``text[start:end]`` in characters, with its label and probability."""

    label: str
    score: float
    start: int
    end: int
    text: str


@dataclass(frozen=True)
class _Piece:
    """Consecutive tokens of one label."""

    label: str
    score: np.float32
    start: int
    end: int


def _first(scores: FloatArray) -> FloatArray:
    first: FloatArray = scores[0]
    return first


def _average(scores: FloatArray) -> FloatArray:
    average: FloatArray = scores.mean(axis=0)
    return average


def _highest(scores: FloatArray) -> FloatArray:
    highest: FloatArray = scores[scores.max(axis=1).argmax()]
    return highest


# A word's scores from those of its tokens: [tokens, labels] -> [labels].
_WORD_SCORES: dict[str, Callable[[FloatArray], FloatArray]] = {
    "first": _first,
    "average": _average,
    "max": _highest,
}
AGGREGATIONS = ("none", "simple", *_WORD_SCORES)


class TagOptions(CallOptions, total=False):
    """Options of :meth:`TokenClassifier.tag`."""

    aggregation: str
    ignore_labels: Collection[str]
    overflow: str | None
    stride: int | None


class Tag(Operation[str, list[Entity]]):
    """Find the entities of texts."""

    def __init__(
        self,
        context: TaskContext,
        *,
        aggregation: str = "simple",
        ignore_labels: Collection[str] = IGNORED,
        overflow: str | None = None,
        stride: int | None = None,
    ) -> None:
        """Check the options of :meth:`TokenClassifier.tag`."""
        super().__init__(context)
        self.aggregation = check_choice("aggregation", aggregation, AGGREGATIONS)
        if isinstance(ignore_labels, str):
            raise InputError(f"ignore_labels is {ignore_labels!r}; expected a list of labels.")
        self.ignore_labels = ignore_labels
        self.overflow = context.resolve_overflow(overflow, stride, known=OVERFLOWS)
        if self.overflow == "window" and aggregation == "none":
            raise InputError(
                "aggregation is 'none' with overflow='window', which joins the entities of "
                "neighbouring windows. Pass another aggregation, or another overflow."
            )
        self.stride = stride
        self.labels = context.manifest.labels or ()

    def encode(self, inputs: Sequence[str], first: int = 0) -> list[list[TokenSequence]]:
        """Return the windows of each text; their source is the tokenized window."""
        manifest = self.context.manifest
        unknown = manifest.special_tokens.get("unk", -1)
        longest = manifest.limits.max_sequence_length
        texts = self.context.tokenizer.encode_with_offsets(
            inputs, self.overflow, unknown=unknown, first=first
        )
        return [
            [
                TokenSequence(window.ids, source=window)
                for window in _windows(text, longest, self.stride, f"Text {i}")
            ]
            for i, text in enumerate(texts, first)
        ]

    def reduce(self, rows: Rows, sequence: TokenSequence) -> list[Entity]:
        """[tokens, labels] -> the entities of a window."""
        return entities(rows[0], sequence.source, self.labels, self.aggregation, self.ignore_labels)

    def decode(self, parts: Sequence[list[Entity]]) -> list[Entity]:
        """Join the entities of a text's windows."""
        return _without_overlaps(parts)


def entities(
    logits: FloatArray,
    tokenized: TokenizedText,
    labels: Sequence[str],
    aggregation: str,
    ignore_labels: Collection[str] = IGNORED,
) -> list[Entity]:
    """[tokens, labels] -> the entities of a text, in order.

    Leaves out special tokens and ignored labels. With aggregation "none" each token is an entity
    with its full label. Otherwise neighbours with the same kind of label are joined ("B-" starts a
    new entity): tokens for "simple", else words. A word's scores are those of its first token, the
    average of its tokens, or those of the token with the highest score. An entity's score is the
    mean over its parts.
    """
    kept = np.flatnonzero(~tokenized.added)
    scores = softmax(logits[kept].astype(np.float32, copy=False))
    if aggregation in _WORD_SCORES:
        # The first token of a text always starts a word.
        begins = np.flatnonzero(~tokenized.continues[kept] | (np.arange(kept.size) == 0))
        words = np.split(np.arange(kept.size), begins[1:]) if kept.size else []
        scores_of = _WORD_SCORES[aggregation]
    else:
        words = [np.array([i]) for i in range(kept.size)]
        scores_of = _first
    offsets = tokenized.offsets[kept]
    pieces = [
        _piece(scores_of(scores[word]), labels, offsets[word[0], 0], offsets[word[-1], 1])
        for word in words
    ]
    if aggregation != "none":
        pieces = [_joined(group) for group in _groups(pieces)]
    return [
        Entity(p.label, float(p.score), p.start, p.end, tokenized.text[p.start : p.end])
        for p in pieces
        if p.label not in ignore_labels
    ]


def _windows(
    text: TokenizedText, longest: int, stride: int | None, what: str
) -> Iterable[TokenizedText]:
    """Yield the text, or its windows if it is too long; offsets stay the text's."""
    if text.ids.size <= longest:
        return [text]
    rows = np.arange(text.ids.size, dtype=np.int32)
    return (
        replace(
            text,
            ids=text.ids[window],
            offsets=text.offsets[window],
            added=text.added[window],
            continues=text.continues[window],
        )
        for window, _ in cut(rows, ~text.added, longest, stride, what)
    )


def _without_overlaps(windows: Sequence[Sequence[Entity]]) -> list[Entity]:
    """Keep the longest of overlapping entities; break ties by score."""
    if len(windows) == 1:
        return list(windows[0])
    kept: list[Entity] = []
    for entity in sorted((e for one in windows for e in one), key=lambda entity: entity.start):
        before = kept[-1] if kept else None
        if before is None or entity.start >= before.end:
            kept.append(entity)
        elif _rank(entity) > _rank(before):
            kept[-1] = entity
    return kept


def _rank(entity: Entity) -> tuple[int, float]:
    return entity.end - entity.start, entity.score


def _piece(scores: FloatArray, labels: Sequence[str], start: int, end: int) -> _Piece:
    best = int(scores.argmax())
    return _Piece(labels[best], scores[best], int(start), int(end))


def _groups(pieces: Iterable[_Piece]) -> list[list[_Piece]]:
    groups: list[list[_Piece]] = []
    for piece in pieces:
        begins, kind = _split(piece.label)
        if groups and not begins and kind == _split(groups[-1][-1].label)[1]:
            groups[-1].append(piece)
        else:
            groups.append([piece])
    return groups


def _split(label: str) -> tuple[bool, str]:
    """Return whether a label always starts an entity, and its kind."""
    return label.startswith("B-"), label[2:] if label.startswith(("B-", "I-")) else label


def _joined(group: Sequence[_Piece]) -> _Piece:
    # Drop any prefix ("E-", "S-" too), though only "B-" and "I-" join tokens.
    kind = group[0].label.split("-", 1)[-1]
    score = np.mean([piece.score for piece in group], dtype=np.float32)
    return _Piece(kind, score, group[0].start, group[-1].end)


class TokenClassifier(Model):
    """Named entities and other labels of tokens: bundles for token-classification."""

    overflows = OVERFLOWS

    @overload
    def tag(  # type: ignore[overload-overlap]
        self, texts: str, **options: Unpack[TagOptions]
    ) -> list[Entity]: ...
    @overload
    def tag(self, texts: Iterable[str], **options: Unpack[TagOptions]) -> list[list[Entity]]: ...
    def tag(
        self,
        texts: str | Iterable[str],
        *,
        aggregation: str = "simple",
        ignore_labels: Collection[str] = IGNORED,
        overflow: str | None = None,
        stride: int | None = None,
        batch_tokens: int | None = None,
        progress: bool = False,
    ) -> Any:
        """Find the entities of texts, as the transformers pipeline does.

        Args:
            texts: one text or several; no pairs.
            aggregation: "none": each token by itself; "simple": join neighbours of one kind;
                "first", "average", "max": join words, labelled by the first token, the average of
                the tokens, or the token with the highest score.
            ignore_labels: labels that make no entity.
            overflow: for a text that is too long: "error"; "truncate"; or "window": tag overlapping
                windows, and of overlapping entities keep the longest, then the one with the higher
                score. None: the model's.
            stride: tokens that neighbouring windows share; None: an eighth of a window.
            batch_tokens: tokens of a packed batch; None: 2,048 on a CPU.
            progress: show a progress bar on standard error if that is a terminal.

        Returns:
            For each text its entities, in the order of the text. For a single string, that
            string's.

        Raises:
            InputError: a pair, a text that is too long, or an invalid option.
        """
        operation = Tag(
            self.context,
            aggregation=aggregation,
            ignore_labels=ignore_labels,
            overflow=overflow,
            stride=stride,
        )
        return self._apply_to_texts(operation, texts, batch_tokens, progress)

    def tag_iter(
        self,
        texts: Iterable[str],
        *,
        look_ahead: int = LOOK_AHEAD,
        **options: Unpack[TagOptions],
    ) -> Iterator[list[Entity]]:
        """Tag any number of texts in bounded memory; see :meth:`Model.apply_iter`."""
        return self._stream(Tag, texts, look_ahead, options)


_AGGREGATION = CommandOption(
    "aggregation", "How tokens become entities. Default: simple.", choices=AGGREGATIONS
)


def _answers(model: TokenClassifier, texts: Iterator[str], **options: Any) -> Iterator[Answer]:
    for text, found in beside(texts, lambda several: model.tag_iter(several, **options)):
        lines = [f"  {e.label} {e.score:.4f} {e.start}-{e.end} {e.text.strip()}" for e in found]
        yield text, "\n".join(lines) or "  no entities", {"entities": [asdict(e) for e in found]}


TokenClassifier.commands = (Command(_answers, (_AGGREGATION, OVERFLOW, STRIDE)),)

MODELS: tuple[type[Model], ...] = (TokenClassifier,)
TASKS = (
    Task(
        "token-classification",
        outputs={"logits": "tokens"},
        model=lambda manifest: TokenClassifier,
        labelled=True,
    ),
)
