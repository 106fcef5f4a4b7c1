"""Question answering: the spans of a context that answer a question.

Windows, candidates and scores follow the transformers pipeline of releases up to 4.57:
https://github.com/huggingface/transformers, pipelines/question_answering.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from mbert.errors import InputError

from ..activations import softmax
from ..engine import Array, Rows
from ..inputs import as_sequence, check_count, check_length, check_top_k
from ..model import LOOK_AHEAD, CallOptions, Model
from ..packing import TokenSequence
from ..tokenization import TokenizedPair
from ..windows import OVERFLOWS, spans
from .base import (
    OVERFLOW,
    STRIDE,
    TOP_K,
    Command,
    CommandOption,
    Operation,
    Task,
    TaskContext,
    beside,
)
from .base import (
    Answer as Printed,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack

FloatArray = NDArray[np.float64]
# A question and its context.
Question = tuple[str, str]

# Defaults of the transformers pipeline: tokens of a window, and tokens that neighbours share.
WINDOW_TOKENS = 384
STRIDE_TOKENS = 128


@dataclass(frozen=True)
class Answer:
    """A span of a context, ``text = context[start:end]`` in characters, with its score.

    No answer is the empty text at 0.
    """

    score: float
    start: int
    end: int
    text: str


@dataclass(frozen=True)
class _Window:
    """A question with part of its context.

    Attributes:
        pair: the tokenized question and context.
        rows: int [tokens], the pair's tokens that are in the window.
        context: the context's tokens among them.
    """

    pair: TokenizedPair
    rows: NDArray[np.int64]
    context: slice


@dataclass(frozen=True)
class _Found:
    """The best answers in one window, and the score that it has none."""

    answers: list[Answer]
    none: float


class AnswerOptions(CallOptions, total=False):
    """Options of :meth:`QuestionAnswerer.answer`."""

    top_k: int
    max_answer_length: int
    window_tokens: int | None
    whole_words: bool
    impossible: bool
    overflow: str | None
    stride: int | None


class AnswerQuestions(Operation[Question, list[Answer]]):
    """Find the spans of contexts that answer questions."""

    def __init__(
        self,
        context: TaskContext,
        *,
        top_k: int = 1,
        max_answer_length: int = 15,
        window_tokens: int | None = None,
        whole_words: bool = True,
        impossible: bool = False,
        overflow: str | None = None,
        stride: int | None = None,
    ) -> None:
        """Check the options of :meth:`QuestionAnswerer.answer`."""
        super().__init__(context)
        check_top_k(top_k, optional=False)
        check_count("max_answer_length", max_answer_length)
        longest = context.manifest.limits.max_sequence_length
        self.overflow = context.resolve_overflow(
            overflow, stride, default="window", known=OVERFLOWS
        )
        if window_tokens is None:
            window_tokens = min(WINDOW_TOKENS, longest) if self.overflow == "window" else longest
        check_count("window_tokens", window_tokens)
        if window_tokens > longest:
            raise InputError(
                f"window_tokens is {window_tokens}; expected 1 to {longest}, the bundle's limit."
            )
        self.top_k = top_k
        self.max_answer_length = max_answer_length
        self.window_tokens = window_tokens
        self.stride = min(STRIDE_TOKENS, window_tokens // 2) if stride is None else stride
        self.whole_words = whole_words
        self.impossible = impossible
        self._cls = context.manifest.special_tokens.get("cls", -1)

    def encode(self, inputs: Sequence[Question], first: int = 0) -> list[list[TokenSequence]]:
        """Return the windows of each context, with the question in each."""
        longest = self.window_tokens if self.overflow == "truncate" else None
        pairs = self.context.tokenizer.encode_pairs(inputs, longest=longest, first=first)
        groups = []
        for i, pair in enumerate(pairs, first):
            if self.overflow == "error":
                check_length(pair.ids.size, self.window_tokens, f"Question {i} with its context")
            windows = self._windows(pair, i)
            groups.append([TokenSequence(pair.ids[w.rows], source=w) for w in windows])
        return groups

    def _windows(self, pair: TokenizedPair, i: int) -> Iterator[_Window]:
        begin, end = pair.context_tokens.start, pair.context_tokens.stop
        count = pair.ids.size
        if count <= self.window_tokens:
            yield _Window(pair, np.arange(count), pair.context_tokens)
            return
        repeated = count - (end - begin)
        room = self.window_tokens - repeated
        if room <= self.stride:
            raise InputError(
                f"Question {i} and the special tokens take {repeated} of the "
                f"{self.window_tokens} tokens of a window, whose neighbours share {self.stride}. "
                "Shorten the question, or pass larger window_tokens or a smaller stride."
            )
        around = np.arange(begin), np.arange(end, count)
        for start, stop in spans(begin, end, room, self.stride):
            rows = np.concatenate((around[0], np.arange(start, stop), around[1]))
            yield _Window(pair, rows, slice(begin, begin + stop - start))

    def reduce(self, rows: Rows, sequence: TokenSequence) -> _Found:
        """Return the best spans of a window."""
        window: _Window = sequence.source
        # The first token, cls, stands for "no answer here" and takes its share of probability.
        allowed = sequence.ids == self._cls
        allowed[window.context] = True
        start, end = (_probabilities(logits, allowed) for logits in rows)
        pair, tokens = window.pair, window.rows[window.context]
        # Spans widened to whole words can coincide.
        count = 2 * self.top_k + 10 if self.whole_words else self.top_k
        answers = []
        for first, last, score in best_spans(
            start[window.context], end[window.context], count, self.max_answer_length
        ):
            if self.whole_words:
                first, last = _widened(pair.words[tokens], first, last)
            begin, stop = int(pair.offsets[tokens[first], 0]), int(pair.offsets[tokens[last], 1])
            answers.append(Answer(score, begin, stop, pair.context[begin:stop]))
        return _Found(answers, float(start[0] * end[0]))

    def decode(self, parts: Sequence[_Found]) -> list[Answer]:
        """Return the best answers over all windows; add up the scores of equal texts."""
        by_text: dict[str, Answer] = {}
        none = 1.0
        for found in parts:
            none = min(none, found.none)
            for candidate in found.answers:
                key = candidate.text.lower()
                before = by_text.setdefault(key, replace(candidate, score=0.0))
                by_text[key] = replace(before, score=before.score + candidate.score)
        answers = list(by_text.values())
        if self.impossible:
            answers.append(Answer(none, 0, 0, ""))
        return sorted(answers, key=lambda answer: -answer.score)[: self.top_k]


def best_spans(
    start: FloatArray, end: FloatArray, top_k: int, longest: int
) -> list[tuple[int, int, float]]:
    """Return the most probable spans.

    Args:
        start: [tokens], probability that the answer starts there.
        end: [tokens], probability that it ends there.
        top_k: number of spans.
        longest: the most tokens of a span.

    Returns:
        First token, last token and the product of their probabilities, best first.
    """
    count, width = start.size, min(longest, start.size)
    # Column d holds spans of d + 1 tokens; -1 marks those beyond the last token.
    ends = np.concatenate((end, np.full(width, -1.0)))
    scores = start[:, None] * np.lib.stride_tricks.sliding_window_view(ends, width)[:count]
    flat = np.where(scores < 0, -1.0, scores).ravel()
    order = np.argsort(-flat, kind="stable")[:top_k]
    places = [(int(i) // width, int(i) % width, float(flat[i])) for i in order if flat[i] >= 0]
    return [(first, first + more, score) for first, more, score in places]


def _probabilities(logits: Array, allowed: NDArray[np.bool_]) -> FloatArray:
    """[tokens] -> probabilities over the allowed tokens; zero for the others."""
    probabilities = np.zeros(logits.size)
    probabilities[allowed] = softmax(logits[allowed].astype(np.float64))
    return probabilities


def _widened(words: NDArray[np.int64], first: int, last: int) -> tuple[int, int]:
    """Return the first token of the first word, and the last token of the last."""
    if words[first] < 0 or words[last] < 0:  # a tokenizer without words
        return first, last
    same = np.flatnonzero(words == words[first]), np.flatnonzero(words == words[last])
    return int(same[0][0]), int(same[1][-1])


def paired(questions: str | Iterable[str], contexts: str | Iterable[str]) -> list[Question]:
    """Pair questions with contexts; a single one goes with each of the others.

    Raises:
        InputError: different numbers of them, or no texts.
    """
    if isinstance(questions, str) and isinstance(contexts, str):
        return [(questions, contexts)]
    if isinstance(questions, str):
        return [(questions, context) for context in as_sequence(contexts, "context")]
    several = as_sequence(questions, "question")
    if isinstance(contexts, str):
        return [(question, contexts) for question in several]
    others = as_sequence(contexts, "context")
    if len(several) != len(others):
        raise InputError(
            f"There are {len(several)} questions and {len(others)} contexts. Pass equal numbers, "
            "or one of them as a string."
        )
    return list(zip(several, others, strict=True))


class QuestionAnswerer(Model):
    """Extractive question answering: bundles for question-answering."""

    overflows = OVERFLOWS

    @overload
    def answer(  # type: ignore[overload-overlap]
        self, question: str, context: str, **options: Unpack[AnswerOptions]
    ) -> list[Answer]: ...
    @overload
    def answer(
        self,
        question: str | Iterable[str],
        context: str | Iterable[str],
        **options: Unpack[AnswerOptions],
    ) -> list[list[Answer]]: ...
    def answer(
        self,
        question: str | Iterable[str],
        context: str | Iterable[str],
        *,
        top_k: int = 1,
        max_answer_length: int = 15,
        window_tokens: int | None = None,
        whole_words: bool = True,
        impossible: bool = False,
        overflow: str | None = None,
        stride: int | None = None,
        batch_tokens: int | None = None,
        progress: bool = False,
    ) -> Any:
        """Find the spans of a context that answer a question, as transformers' pipeline did.

        In each window, start and end get a softmax over the tokens of the context and the first
        special token, and a span scores their product. Scores of equal texts are added up: over
        several windows they can exceed 1.

        Args:
            question: one, or several.
            context: one, or several: the text that holds the answer. Each of several goes with its
                question; a single one, or a single question, goes with all.
            top_k: number of answers.
            max_answer_length: in tokens.
            window_tokens: tokens of a window, question and special tokens included; None: 384, or
                the bundle's limit if that is smaller or overflow is not "window".
            whole_words: widen an answer to whole words of the tokenizer.
            impossible: count "no answer" among the answers: the empty text at 0, with its smallest
                score over the windows.
            overflow: for a context that is too long: "window": cut it into overlapping windows,
                with the question in each; "truncate"; or "error". None: the model's, or "window".
            stride: tokens of the context that neighbouring windows share; None: 128, or half a
                window.
            batch_tokens: tokens of a packed batch; None: 2,048 on a CPU.
            progress: show a progress bar on standard error if that is a terminal.

        Returns:
            For each question its answers, best first; an empty list if the context has no tokens.
            For two strings, those of the one.

        Raises:
            InputError: an invalid option, or a question that leaves no room in a window.
        """
        operation = AnswerQuestions(
            self.context,
            top_k=top_k,
            max_answer_length=max_answer_length,
            window_tokens=window_tokens,
            whole_words=whole_words,
            impossible=impossible,
            overflow=overflow,
            stride=stride,
        )
        answers = self.apply(
            operation, paired(question, context), batch_tokens=batch_tokens, progress=progress
        )
        return answers[0] if isinstance(question, str) and isinstance(context, str) else answers

    def answer_iter(
        self,
        pairs: Iterable[Question],
        *,
        look_ahead: int = LOOK_AHEAD,
        **options: Unpack[AnswerOptions],
    ) -> Iterator[list[Answer]]:
        """Answer any number of (question, context); see :meth:`Model.apply_iter`."""
        return self._stream(AnswerQuestions, pairs, look_ahead, options)


_QUESTION = CommandOption("question", "The question; the texts are its contexts.")


def _answers(
    model: QuestionAnswerer, texts: Iterator[str], *, question: str, **options: Any
) -> Iterator[Printed]:
    def found(contexts: Iterator[str]) -> Iterator[list[Answer]]:
        return model.answer_iter(((question, context) for context in contexts), **options)

    for text, answers in beside(texts, found):
        lines = [f"  {a.score:.4f} {a.start}-{a.end} {a.text.strip()}" for a in answers]
        yield text, "\n".join(lines) or "  no answer", {"answers": [asdict(a) for a in answers]}


QuestionAnswerer.commands = (
    Command(_answers, (_QUESTION, TOP_K, OVERFLOW, STRIDE), required=_QUESTION),
)

MODELS: tuple[type[Model], ...] = (QuestionAnswerer,)
TASKS = (
    Task(
        "question-answering",
        outputs={"start_logits": "tokens", "end_logits": "tokens"},
        model=lambda manifest: QuestionAnswerer,
    ),
)
