"""Question answering: the parts of a context that answer a question.

Windows, candidates and scores are those of the transformers pipeline, which its releases up to 4.57
had: https://github.com/huggingface/transformers, pipelines/question_answering.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mbert.errors import InputError

from ..inputs import as_sequence, check_count, check_top_k
from ..runner import Array, Runner
from ..tokenization import TokenizedPair
from ..windows import spans
from .scores import softmax

FloatArray = NDArray[np.float64]

# Unless the caller says: tokens of a window, and how many of them neighbours share.
WINDOW = 384
STRIDE = 128


@dataclass(frozen=True)
class Answer:
    """A part of a context, ``text = context[start:end]`` in characters, with its score.

    That there is no answer is the empty text at 0.
    """

    score: float
    start: int
    end: int
    text: str


@dataclass(frozen=True)
class Options:
    """The options of :meth:`mbert.Model.answer`."""

    top_k: int
    max_answer_length: int
    window: int
    stride: int
    whole_words: bool
    impossible: bool


@dataclass(frozen=True)
class _Window:
    """A question with as much of its context as fits.

    Attributes:
        pair: which pair it is of.
        rows: int [tokens], which of the pair's tokens these are.
        context: where among them the context's are.
    """

    pair: int
    rows: NDArray[np.int64]
    context: slice


@dataclass(frozen=True)
class _Found:
    """The best answers in one window, and the score of there being none in it."""

    answers: list[Answer]
    none: float


def settle(
    runner: Runner,
    *,
    top_k: int,
    max_answer_length: int,
    window: int | None,
    stride: int | None,
    whole_words: bool,
    impossible: bool,
) -> Options:
    """Settle on the options.

    Raises:
        InputError: the bundle is for another task; an option that is out of range.
    """
    runner.need("question-answering", "answer")
    longest = runner.manifest.limits.max_sequence_length
    check_top_k(top_k, optional=False)
    check_count("max_answer_length", max_answer_length)
    if window is None:
        window = min(WINDOW, longest)
    if not 1 <= window <= longest:
        raise InputError(f"window is {window}; expected 1 to {longest}, the bundle's limit.")
    if stride is None:
        stride = min(STRIDE, window // 2)
    check_count("stride", stride, least=0)
    return Options(top_k, max_answer_length, window, stride, whole_words, impossible)


def paired(questions: str | Sequence[str], contexts: str | Sequence[str]) -> list[tuple[str, str]]:
    """Pair questions with contexts; a single one goes with each of the others.

    Raises:
        InputError: two sequences of different lengths, or nothing that gives texts.
    """
    if not isinstance(questions, str):
        questions = as_sequence(questions, "question")
    if not isinstance(contexts, str):
        contexts = as_sequence(contexts, "context")
    if isinstance(questions, str) and isinstance(contexts, str):
        return [(questions, contexts)]
    if isinstance(questions, str):
        return [(questions, context) for context in contexts]
    if isinstance(contexts, str):
        return [(question, contexts) for question in questions]
    if len(questions) != len(contexts):
        raise InputError(
            f"There are {len(questions)} questions and {len(contexts)} contexts. Pass as many of "
            "each, or one of them as a string."
        )
    return list(zip(questions, contexts, strict=True))


def answer(
    runner: Runner, pairs: Sequence[tuple[str, str]], options: Options
) -> list[list[Answer]]:
    """Compute :meth:`mbert.Model.answer` for several pairs, the windows of all packed together."""
    tokenized = runner.tokenizer.tokenize_pairs(pairs)
    windows = [window for i, pair in enumerate(tokenized) for window in _cut(i, pair, options)]
    cls = runner.manifest.special_tokens.get("cls", -1)
    found = runner.for_each(
        runner.checked(tokenized[window.pair].ids[window.rows] for window in windows),
        lambda i, start_logits, end_logits: _found(
            tokenized[windows[i].pair], windows[i], start_logits, end_logits, cls, options
        ),
    )
    by_pair: list[list[_Found]] = [[] for _ in pairs]
    for window, one in zip(windows, found, strict=True):
        by_pair[window.pair].append(one)
    return [_best(several, options) for several in by_pair]


def best_spans(
    start: FloatArray, end: FloatArray, top_k: int, longest: int
) -> list[tuple[int, int, float]]:
    """The most probable spans.

    Args:
        start: [tokens], the probability that the answer starts at each.
        end: [tokens], the probability that it ends with each.
        top_k: how many spans.
        longest: tokens of a span at the most.

    Returns:
        First token, last token and the product of their probabilities, best first.
    """
    count, width = start.size, min(longest, start.size)
    # Column d: spans of d + 1 tokens. Beyond the last token there are none.
    ends = np.concatenate((end, np.full(width, -1.0)))
    scores = start[:, None] * np.lib.stride_tricks.sliding_window_view(ends, width)[:count]
    flat = np.where(scores < 0, -1.0, scores).ravel()
    order = np.argsort(-flat, kind="stable")[:top_k]
    places = [(int(i) // width, int(i) % width, float(flat[i])) for i in order if flat[i] >= 0]
    return [(first, first + more, score) for first, more, score in places]


def _cut(index: int, pair: TokenizedPair, options: Options) -> Iterable[_Window]:
    """Windows with the question and the special tokens on each."""
    begin, end = pair.context_tokens.start, pair.context_tokens.stop
    count = pair.ids.size
    if count <= options.window:
        yield _Window(index, np.arange(count), pair.context_tokens)
        return
    room = options.window - (count - (end - begin))
    if room <= options.stride:
        raise InputError(
            f"Question {index} and the special tokens take {count - (end - begin)} of the "
            f"{options.window} tokens of a window, of which neighbours share {options.stride} of "
            "the context. Shorten the question, or pass a larger window or a smaller stride."
        )
    around = np.arange(begin), np.arange(end, count)
    for start, stop in spans(begin, end, room, options.stride):
        rows = np.concatenate((around[0], np.arange(start, stop), around[1]))
        yield _Window(index, rows, slice(begin, begin + stop - start))


def _found(
    pair: TokenizedPair,
    window: _Window,
    start_logits: Array,
    end_logits: Array,
    cls: int,
    options: Options,
) -> _Found:
    # The first token, cls, stands for "no answer here", and takes its part of the probability.
    allowed = pair.ids[window.rows] == cls
    allowed[window.context] = True
    start, end = _probabilities(start_logits, allowed), _probabilities(end_logits, allowed)
    tokens = window.rows[window.context]
    # Widened to words, several spans can become one.
    count = 2 * options.top_k + 10 if options.whole_words else options.top_k
    best = best_spans(start[window.context], end[window.context], count, options.max_answer_length)
    answers = []
    for first, last, score in best:
        if options.whole_words:
            first, last = _widened(pair.words[tokens], first, last)
        begin, stop = int(pair.offsets[tokens[first], 0]), int(pair.offsets[tokens[last], 1])
        answers.append(Answer(score, begin, stop, pair.context[begin:stop]))
    return _Found(answers, float(start[0] * end[0]))


def _probabilities(logits: Array, allowed: NDArray[np.bool_]) -> FloatArray:
    """[tokens] -> probabilities of those allowed; zero for the others."""
    probabilities = np.zeros(logits.size)
    probabilities[allowed] = softmax(logits[allowed].astype(np.float64))
    return probabilities


def _widened(words: NDArray[np.int64], first: int, last: int) -> tuple[int, int]:
    """The first token of the first one's word, and the last of the last one's."""
    if words[first] < 0 or words[last] < 0:  # a tokenizer without words
        return first, last
    same = np.flatnonzero(words == words[first]), np.flatnonzero(words == words[last])
    return int(same[0][0]), int(same[1][-1])


def _best(found: Iterable[_Found], options: Options) -> list[Answer]:
    """Of the answers in all windows the best; the scores of equal texts are added up."""
    by_text: dict[str, Answer] = {}
    none = 1.0
    for one in found:
        none = min(none, one.none)
        for candidate in one.answers:
            before = by_text.setdefault(candidate.text.lower(), replace(candidate, score=0.0))
            by_text[candidate.text.lower()] = replace(before, score=before.score + candidate.score)
    answers = list(by_text.values())
    if options.impossible:
        answers.append(Answer(none, 0, 0, ""))
    return sorted(answers, key=lambda one: -one.score)[: options.top_k]
