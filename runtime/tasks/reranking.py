"""Reranking: documents by their scores for a query."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mbert.errors import InputError

from ..activations import Function, identity, relu, sigmoid, tanh
from ..checks import member, prompts
from ..engine import Rows
from ..inputs import as_sequence, check_top_k
from ..manifest import Limits, Manifest
from ..model import LOOK_AHEAD, CallOptions, Model
from ..packing import TokenSequence
from ..prompts import resolve_prompt
from .base import (
    OVERFLOW,
    PROMPT,
    TOP_K,
    Answer,
    Command,
    CommandOption,
    Operation,
    Task,
    TaskContext,
)
from .classification import CLASSIFY, Classifier
from .embedding import describe_prompts

if TYPE_CHECKING:
    from typing_extensions import Unpack

# Activations of a cross encoder's logit, by PyTorch's names.
ACTIVATIONS: dict[str, Function] = {
    "Identity": identity,
    "Sigmoid": sigmoid,
    "Tanh": tanh,
    "ReLU": relu,
}
# A query and its documents.
Ranking = tuple[str, Sequence[str]]


@dataclass(frozen=True)
class RerankingSettings:
    """How a classifier with one label scores pairs: ``reranking`` of the manifest.

    Attributes:
        activation: of the logit; one of ``ACTIVATIONS``.
        prompts: texts to put in front of a query, by name.
        default_prompt: name of the prompt to use if the caller names none.
    """

    activation: str
    prompts: dict[str, str]
    default_prompt: str | None

    @classmethod
    def parse(cls, entry: Mapping[str, Any], vocab_size: int, limits: Limits) -> RerankingSettings:
        """Check the entry of a manifest; see :class:`mbert.runtime.tasks.base.TaskSettings`."""
        prompts("reranking", entry["prompts"], entry["default_prompt"])
        activation = member("reranking.activation", entry["activation"], ACTIVATIONS)
        return cls(activation, dict(entry["prompts"]), entry["default_prompt"])

    def describe(self) -> Iterator[tuple[str, str]]:
        """Yield name and value of each setting."""
        yield "activation", self.activation
        yield from describe_prompts(self.prompts, self.default_prompt)


@dataclass(frozen=True)
class RankResult:
    """A document, its index in the caller's list, and its score for the query."""

    index: int
    score: float
    document: str


class RankOptions(CallOptions, total=False):
    """Options of a ranking by any model."""

    top_k: int | None
    overflow: str | None


class RerankOptions(RankOptions, total=False):
    """Options of :meth:`Reranker.rerank`."""

    prompt: str | None


class Rank(Operation[Ranking, list[RankResult]]):
    """Rank the documents of each query; subclasses score them."""

    def __init__(
        self, context: TaskContext, *, top_k: int | None = None, overflow: str | None = None
    ) -> None:
        """Check the options."""
        super().__init__(context)
        check_top_k(top_k)
        self.top_k = top_k
        self.overflow = context.resolve_overflow(overflow)

    def ranked(self, scores: Iterable[float], documents: Sequence[str]) -> list[RankResult]:
        """Return the ``top_k`` documents with the largest scores, best first."""
        values = np.array(list(scores), np.float64)
        order = np.argsort(-values, kind="stable")[: self.top_k]
        return [RankResult(int(i), float(values[i]), documents[i]) for i in order]


class Rerank(Rank):
    """Rank documents by a cross encoder, which reads each with the query."""

    def __init__(
        self,
        context: TaskContext,
        *,
        top_k: int | None = None,
        prompt: str | None = None,
        overflow: str | None = None,
    ) -> None:
        """Check the options of :meth:`Reranker.rerank`."""
        super().__init__(context, top_k=top_k, overflow=overflow)
        # Bundles exported before there was an entry have a sigmoid.
        settings = context.manifest.reranking or RerankingSettings("Sigmoid", {}, None)
        self.prompt = resolve_prompt(prompt, settings)
        self.activation = ACTIVATIONS[settings.activation]

    def encode(self, inputs: Sequence[Ranking], first: int = 0) -> list[list[TokenSequence]]:
        """Return one sequence for each document, whose source is the document."""
        groups = []
        for query, documents in inputs:
            pairs = [(self.prompt + query, document) for document in documents]
            ids = self.context.tokenizer.encode(pairs, self.overflow)
            groups.append([TokenSequence(i, source=d) for i, d in zip(ids, documents, strict=True)])
        return groups

    def reduce(self, rows: Rows, sequence: TokenSequence) -> tuple[float, str]:
        """Return the logit and the document."""
        return float(rows[0][0]), sequence.source

    def decode(self, parts: Sequence[tuple[float, str]]) -> list[RankResult]:
        """Return the documents, best first."""
        logits = np.array([logit for logit, _ in parts], np.float64)
        return self.ranked(self.activation(logits), [document for _, document in parts])


def check_ranking(query: object, documents: Iterable[str]) -> Ranking:
    """Return the query and a list of its documents.

    Raises:
        InputError: the query or a document is not a string, or the documents are one.
    """
    if not isinstance(query, str):
        raise InputError(f"query is a {type(query).__name__}; expected a string.")
    candidates = as_sequence(documents, "documents")
    for i, document in enumerate(candidates):
        if not isinstance(document, str):
            raise InputError(f"Document {i} is a {type(document).__name__}; expected a string.")
    return query, candidates


def rank(
    model: Model,
    operation: Rank,
    query: str,
    documents: Iterable[str],
    batch_tokens: int | None,
    progress: bool,
) -> list[RankResult]:
    """Run a ranking of one query."""
    ranking = check_ranking(query, documents)
    results: list[RankResult] = model.apply(
        operation, [ranking], batch_tokens=batch_tokens, progress=progress
    )[0]
    return results


class Reranker(Classifier):
    """A cross encoder: bundles for text-classification with one label."""

    def rerank(
        self,
        query: str,
        documents: Iterable[str],
        *,
        top_k: int | None = None,
        prompt: str | None = None,
        overflow: str | None = None,
        batch_tokens: int | None = None,
        progress: bool = False,
    ) -> list[RankResult]:
        """Rank documents for a query.

        Args:
            query: the search query.
            documents: the candidates.
            top_k: number of documents to return; None: all.
            prompt: put in front of the query: a name of ``info.reranking.prompts``, or the text
                itself; None: the checkpoint's default.
            overflow: for a pair that is too long: "error", or "truncate", which shortens the longer
                of both; None: the model's.
            batch_tokens: tokens of a packed batch; None: 2,048 on a CPU.
            progress: show a progress bar on standard error if that is a terminal.

        Returns:
            The documents with their scores, best first. A score is the logit after the activation
            of the checkpoint (sigmoid by default), as sentence-transformers' CrossEncoder has it.

        Raises:
            InputError: a pair that is too long, or an invalid option.
        """
        operation = Rerank(self.context, top_k=top_k, prompt=prompt, overflow=overflow)
        return rank(self, operation, query, documents, batch_tokens, progress)

    def rerank_iter(
        self,
        rankings: Iterable[tuple[str, Iterable[str]]],
        *,
        look_ahead: int = LOOK_AHEAD,
        **options: Unpack[RerankOptions],
    ) -> Iterator[list[RankResult]]:
        """Rank any number of (query, documents); see :meth:`Model.apply_iter`."""
        several = (check_ranking(query, documents) for query, documents in rankings)
        return self._stream(Rerank, several, look_ahead, options)


QUERY = CommandOption("query", "Rank the texts for this query, best first.")


def answer_ranking(
    model: Any, texts: Iterator[str], *, query: str, **options: Any
) -> Iterator[Answer]:
    """Rank all texts for the command line, best first."""
    for result in model.rerank(query, list(texts), **options):
        found = {"index": result.index, "score": result.score}
        yield result.document, f"  {result.score:.4f}", found


Reranker.commands = (
    CLASSIFY,
    Command(answer_ranking, (QUERY, TOP_K, PROMPT, OVERFLOW), required=QUERY, streams=False),
)


def _model(manifest: Manifest) -> type[Classifier]:
    return Reranker if len(manifest.labels or ()) == 1 else Classifier


MODELS: tuple[type[Model], ...] = (Classifier, Reranker)
TASKS = (
    Task(
        "text-classification",
        outputs={"logits": "sequences"},
        model=_model,
        settings={"reranking": RerankingSettings},
        labelled=True,
    ),
)
