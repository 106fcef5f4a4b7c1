"""Token classification: entities with their place in the text.

Strategies, word boundaries and scores are those of the transformers pipeline.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mbert.errors import InputError

from ..inputs import check_count
from ..runner import Runner
from ..tokenization import TokenizedText
from ..windows import cut
from .scores import softmax

FloatArray = NDArray[np.float32]

# The label of tokens that belong to no entity, unless the caller says.
IGNORED = ("O",)


@dataclass(frozen=True)
class Entity:
    """A part of a text, ``text[start:end]`` in characters, with its label and a probability."""

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


def _surest(scores: FloatArray) -> FloatArray:
    surest: FloatArray = scores[scores.max(axis=1).argmax()]
    return surest


# How a word's tokens agree on the word's scores: [tokens, labels] -> [labels].
_WORD_SCORES: dict[str, Callable[[FloatArray], FloatArray]] = {
    "first": _first,
    "average": _average,
    "max": _surest,
}
AGGREGATIONS = ("none", "simple", *_WORD_SCORES)


def tag(
    runner: Runner,
    texts: Sequence[str],
    *,
    aggregation: str,
    ignore_labels: Collection[str],
    stride: int | None,
    truncate: bool,
) -> list[list[Entity]]:
    """Compute :meth:`mbert.Model.tag` for several texts, the windows of all packed together."""
    check_aggregation(aggregation)
    if isinstance(ignore_labels, str):
        raise InputError(f"ignore_labels is {ignore_labels!r}; expected a list of labels.")
    if stride is not None and (truncate or aggregation == "none"):
        raise InputError(
            f"stride is {stride}: long texts are cut into windows, whose entities are joined. That "
            "goes neither with truncate=True nor with aggregation='none'."
        )
    if stride is not None:
        check_count("stride", stride, least=0)
    manifest = runner.manifest
    longest = manifest.limits.max_sequence_length
    tokenized = runner.tokenizer.tokenize(
        texts,
        truncate,
        unknown=manifest.special_tokens.get("unk", -1),
        any_length=stride is not None,
    )
    windows = [
        (i, window)
        for i, text in enumerate(tokenized)
        for window in _windows(text, longest, stride, f"Text {i}")
    ]
    labels = manifest.labels or ()
    found = runner.for_each(
        runner.checked([window.ids for _, window in windows]),
        lambda i, logits: entities(logits, windows[i][1], labels, aggregation, ignore_labels),
    )
    by_text: list[list[list[Entity]]] = [[] for _ in texts]
    for (i, _), one in zip(windows, found, strict=True):
        by_text[i].append(one)
    return [_without_overlaps(several) for several in by_text]


def check_aggregation(aggregation: str) -> str:
    """Return ``aggregation``.

    Raises:
        InputError: not one of ``AGGREGATIONS``.
    """
    if aggregation not in AGGREGATIONS:
        raise InputError(
            f"aggregation is {aggregation!r}; expected one of {', '.join(AGGREGATIONS)}."
        )
    return aggregation


def entities(
    logits: FloatArray,
    tokenized: TokenizedText,
    labels: Sequence[str],
    aggregation: str,
    ignore_labels: Collection[str] = IGNORED,
) -> list[Entity]:
    """[tokens, labels] -> the entities of a text, in its order.

    Tokens that the tokenizer added (first, last) are left out, and so is what has an ignored label.
    With "none" each token is an entity with its whole label. Otherwise neighbours of one kind are
    joined, "B-" starting a new entity, and the kind is the label: after "simple" of the tokens,
    else of words, whose scores are the first token's, the average, or those of the token with the
    highest one. An entity's score is the mean over what was joined.
    """
    kept = np.flatnonzero(~tokenized.added)
    scores = softmax(logits[kept].astype(np.float32, copy=False))
    if aggregation in _WORD_SCORES:
        # A text's first token starts a word, whatever it looks like.
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
    """The text whole, or where it does not fit its windows, whose places stay the whole text's."""
    if stride is None or text.ids.size <= longest:
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
    """Of entities that overlap the longest, of equally long ones the surest."""
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
    """Whether a label always begins an entity, and its kind; no prefix continues."""
    return label.startswith("B-"), label[2:] if label.startswith(("B-", "I-")) else label


def _joined(group: Sequence[_Piece]) -> _Piece:
    # Any prefix goes from the name ("E-", "S-" as well), though only two of them join.
    kind = group[0].label.split("-", 1)[-1]
    score = np.mean([piece.score for piece in group], dtype=np.float32)
    return _Piece(kind, score, group[0].start, group[-1].end)
