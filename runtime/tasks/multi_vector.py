"""Multi-vector embeddings (ColBERT): a vector for each token, and scores by MaxSim."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from mbert.errors import BundleError, InputError

from ..checks import flag, natural
from ..engine import Rows
from ..inputs import check_choice
from ..manifest import Limits
from ..model import LOOK_AHEAD, CallOptions, Model
from ..packing import TokenSequence
from .base import (
    OVERFLOW,
    TOP_K,
    Answer,
    Command,
    CommandOption,
    Operation,
    Task,
    TaskContext,
    beside,
    exact,
)
from .reranking import (
    QUERY,
    Rank,
    Ranking,
    RankOptions,
    RankResult,
    answer_ranking,
    check_ranking,
    rank,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack

FloatArray = NDArray[np.float32]

ROLES = ("query", "document")


@dataclass(frozen=True)
class RoleSettings:
    """How texts of one role are tokenized.

    Attributes:
        prompt: text to put in front.
        prefix: id of a token to insert after the first one; None: no token.
        length: the most tokens, prefix and expansion included.
        skipped: ids of the tokens that get no vector.
    """

    prompt: str
    prefix: int | None
    length: int
    skipped: tuple[int, ...]

    @classmethod
    def parse(
        cls, role: str, entry: Mapping[str, Any], vocab_size: int, longest: int
    ) -> RoleSettings:
        """Check one role of the manifest's entry."""
        what = f"late_interaction.{role}"
        if not isinstance(entry["prompt"], str):
            raise ValueError(f"{what}.prompt is {entry['prompt']!r}, expected a string")
        prefix = entry["prefix"]
        if prefix is not None:
            _below(f"{what}.prefix", prefix, 0, vocab_size)
        skipped = tuple(_below(f"{what}.skipped", i, 0, vocab_size) for i in entry["skipped"])
        length = _below(f"{what}.length", entry["length"], 1, longest + 1)
        return cls(entry["prompt"], prefix, length, skipped)


@dataclass(frozen=True)
class QueryExpansion:
    """Tokens that fill up a short query.

    Attributes:
        token: their id.
        length: the fewest tokens of a query.
        attended: True if the other tokens attend to them. If not, they attend to a query's own
            tokens, and no token attends to them.
    """

    token: int
    length: int
    attended: bool


@dataclass(frozen=True)
class MultiVectorSettings:
    """How queries and documents are tokenized: ``late_interaction`` of the manifest.

    Attributes:
        query: settings of queries.
        document: settings of documents.
        expansion: of queries; None: they are not expanded.
        mean: True if a score is the mean over the query's vectors, not the sum.
    """

    query: RoleSettings
    document: RoleSettings
    expansion: QueryExpansion | None
    mean: bool

    @classmethod
    def parse(
        cls, entry: Mapping[str, Any], vocab_size: int, limits: Limits
    ) -> MultiVectorSettings:
        """Check the entry of a manifest; see :class:`mbert.runtime.tasks.base.TaskSettings`."""
        longest = limits.max_sequence_length
        query, document = (
            RoleSettings.parse(role, entry[role], vocab_size, longest) for role in ROLES
        )
        expansion = entry["expansion"]
        if expansion is not None:
            what = "late_interaction.expansion"
            expansion = QueryExpansion(
                token=_below(f"{what}.token", expansion["token"], 0, vocab_size),
                length=_below(f"{what}.length", expansion["length"], 1, longest + 1),
                attended=flag(f"{what}.attended", expansion["attended"]),
            )
        return cls(query, document, expansion, flag("late_interaction.mean", entry["mean"]))

    def describe(self) -> Iterator[tuple[str, str]]:
        """Yield name and value of each setting."""
        for role in ROLES:
            settings: RoleSettings = getattr(self, role)
            words = [f"up to {settings.length} tokens"]
            if settings.prompt:
                words.append(f"after the prompt {settings.prompt!r}")
            if settings.prefix is not None:
                words.append(f"prefix {settings.prefix}")
            if settings.skipped:
                words.append(f"{len(settings.skipped)} tokens skipped")
            if role == "query" and self.expansion is not None:
                unattended = "" if self.expansion.attended else ", not attended to"
                words.append(f"expanded to {self.expansion.length}{unattended}")
            yield role, ", ".join(words)


def _below(what: str, value: object, least: int, end: int) -> int:
    if natural(what, value, least) >= end:
        raise ValueError(f"{what} is {value!r}, expected an integer below {end}")
    return int(value)  # type: ignore[call-overload, no-any-return]


def _settings(context: TaskContext) -> MultiVectorSettings:
    settings = context.manifest.late_interaction
    if settings is None:
        raise BundleError(
            "The bundle has no settings for queries and documents, since the checkpoint had no "
            "tokenizer.json. Export a checkpoint that has one."
        )
    return settings


class MultiVectorOptions(CallOptions, total=False):
    """Options of :meth:`MultiVectorEmbedder.embed`."""

    overflow: str | None


class EmbedMulti(Operation[str, FloatArray]):
    """Embed texts of one role as one vector for each token."""

    def __init__(self, context: TaskContext, *, role: str, overflow: str | None = None) -> None:
        """Check the options of :meth:`MultiVectorEmbedder.embed`."""
        super().__init__(context)
        settings = _settings(context)
        self.role: RoleSettings = getattr(settings, check_choice("role", role, ROLES))
        self.expansion = settings.expansion if role == "query" else None
        self.overflow = context.resolve_overflow(overflow)

    def encode(self, inputs: Sequence[str], first: int = 0) -> list[list[TokenSequence]]:
        """Tokenize, insert the prefix after the first token, and expand short queries."""
        for i, text in enumerate(inputs, first):
            if not isinstance(text, str):
                raise InputError(
                    f"Text {i} is a {type(text).__name__}; expected a string, not a pair."
                )
        role = self.role
        prefix = np.array([] if role.prefix is None else [role.prefix], np.int32)
        encoded = self.context.tokenizer.encode(
            [role.prompt + text for text in inputs],
            self.overflow,
            first=first,
            longest=role.length,
            added=prefix.size,
        )
        if prefix.size:
            encoded = [np.concatenate((ids[:1], prefix, ids[1:])) for ids in encoded]
        if self.expansion is None:
            return [[TokenSequence(ids)] for ids in encoded]
        token, length, attended = (
            self.expansion.token,
            self.expansion.length,
            self.expansion.attended,
        )
        groups = []
        for ids in encoded:
            missing = max(length - ids.size, 0)
            expanded = np.concatenate((ids, np.full(missing, token, np.int32)))
            groups.append([TokenSequence(expanded, unattended=0 if attended else missing)])
        return groups

    def reduce(self, rows: Rows, sequence: TokenSequence) -> FloatArray:
        """Return a copy of the vectors of the tokens that are not skipped."""
        kept: FloatArray = rows[0][~np.isin(sequence.ids, self.role.skipped)]
        return kept


class RerankMulti(Rank):
    """Rank documents by MaxSim of their vectors with the query's."""

    def __init__(
        self, context: TaskContext, *, top_k: int | None = None, overflow: str | None = None
    ) -> None:
        """Check the options of :meth:`MultiVectorEmbedder.rerank`."""
        super().__init__(context, top_k=top_k, overflow=overflow)
        self.mean = _settings(context).mean
        self.roles = {
            role: EmbedMulti(context, role=role, overflow=self.overflow) for role in ROLES
        }

    def encode(self, inputs: Sequence[Ranking], first: int = 0) -> list[list[TokenSequence]]:
        """Return the query's sequence, then one for each document."""
        groups = []
        for query, documents in inputs:
            group = []
            for role, texts in (("query", [query]), ("document", documents)):
                for text, (one,) in zip(texts, self.roles[role].encode(texts), strict=True):
                    source = (role, text)
                    group.append(TokenSequence(one.ids, unattended=one.unattended, source=source))
            groups.append(group)
        return groups

    def reduce(self, rows: Rows, sequence: TokenSequence) -> tuple[FloatArray, str]:
        """Return the vectors and the text."""
        role, text = sequence.source
        return self.roles[role].reduce(rows, sequence), text

    def decode(self, parts: Sequence[tuple[FloatArray, str]]) -> list[RankResult]:
        """Return the documents, best first."""
        (query, _), *documents = parts
        divisor = max(query.shape[0], 1) if self.mean else 1
        scores = (maxsim(query, vectors) / divisor for vectors, _ in documents)
        return self.ranked(scores, [text for _, text in documents])


def maxsim(query: FloatArray, document: FloatArray) -> float:
    """Sum over the query's vectors the largest product with one of the document's.

    Late interaction of Khattab and Zaharia 2020 (arXiv 2004.12832, eq. 3). A document without
    vectors ranks last.

    Args:
        query: float32 [query vectors, dim].
        document: float32 [document vectors, dim].
    """
    if document.shape[0] == 0:
        return -np.inf
    return float((query @ document.T).max(axis=1).sum(dtype=np.float64))


class MultiVectorEmbedder(Model):
    """Multi-vector embeddings (ColBERT): bundles for multi-vector."""

    @overload
    def embed(  # type: ignore[overload-overlap]
        self, texts: str, *, role: str, **options: Unpack[MultiVectorOptions]
    ) -> FloatArray: ...
    @overload
    def embed(
        self, texts: Iterable[str], *, role: str, **options: Unpack[MultiVectorOptions]
    ) -> list[FloatArray]: ...
    def embed(
        self,
        texts: str | Iterable[str],
        *,
        role: str,
        overflow: str | None = None,
        batch_tokens: int | None = None,
        progress: bool = False,
    ) -> Any:
        """Embed texts as one vector for each of their tokens.

        Args:
            texts: one text or several; no pairs.
            role: "query" or "document": the checkpoint's prefix, length, expansion and skipped
                tokens for it (docs/retrieval.md).
            overflow: for a text longer than its role allows: "error" or "truncate"; None: the
                model's.
            batch_tokens: tokens of a packed batch; None: 2,048 on a CPU.
            progress: show a progress bar on standard error if that is a terminal.

        Returns:
            For each text float32 [vectors, dim]. For a single string, that string's.

        Raises:
            InputError: an unknown role, or a text that is too long.
        """
        operation = EmbedMulti(self.context, role=role, overflow=overflow)
        return self._apply_to_texts(operation, texts, batch_tokens, progress)

    def embed_iter(
        self,
        texts: Iterable[str],
        *,
        role: str,
        look_ahead: int = LOOK_AHEAD,
        **options: Unpack[MultiVectorOptions],
    ) -> Iterator[FloatArray]:
        """Embed any number of texts in bounded memory; see :meth:`Model.apply_iter`."""
        return self._stream(EmbedMulti, texts, look_ahead, {**options, "role": role})

    def rerank(
        self,
        query: str,
        documents: Iterable[str],
        *,
        top_k: int | None = None,
        overflow: str | None = None,
        batch_tokens: int | None = None,
        progress: bool = False,
    ) -> list[RankResult]:
        """Rank documents for a query by MaxSim.

        Args:
            query: the search query.
            documents: the candidates.
            top_k: number of documents to return; None: all.
            overflow: for a text longer than its role allows: "error" or "truncate"; None: the
                model's.
            batch_tokens: tokens of a packed batch; None: 2,048 on a CPU.
            progress: show a progress bar on standard error if that is a terminal.

        Returns:
            The documents with their scores, best first. A score sums, over the query's vectors, the
            largest product with one of the document's (the mean where the checkpoint says so).

        Raises:
            InputError: a text that is too long, or an invalid option.
        """
        operation = RerankMulti(self.context, top_k=top_k, overflow=overflow)
        return rank(self, operation, query, documents, batch_tokens, progress)

    def rerank_iter(
        self,
        rankings: Iterable[tuple[str, Iterable[str]]],
        *,
        look_ahead: int = LOOK_AHEAD,
        **options: Unpack[RankOptions],
    ) -> Iterator[list[RankResult]]:
        """Rank any number of (query, documents); see :meth:`Model.apply_iter`."""
        several = (check_ranking(query, documents) for query, documents in rankings)
        return self._stream(RerankMulti, several, look_ahead, options)


_ROLE = CommandOption("role", "Role of the texts. Default: document.", choices=ROLES)


def _answers(
    model: MultiVectorEmbedder, texts: Iterator[str], *, role: str = "document", **options: Any
) -> Iterator[Answer]:
    for text, vectors in beside(
        texts, lambda several: model.embed_iter(several, role=role, **options)
    ):
        shown = f"  {vectors.shape[0]} vectors of {vectors.shape[1]} dimensions"
        yield text, shown, {"embeddings": [exact(vector) for vector in vectors]}


MultiVectorEmbedder.commands = (
    Command(_answers, (_ROLE, OVERFLOW)),
    Command(answer_ranking, (QUERY, TOP_K, OVERFLOW), required=QUERY, streams=False),
)

MODELS: tuple[type[Model], ...] = (MultiVectorEmbedder,)
TASKS = (
    Task(
        "multi-vector",
        outputs={"token_embeddings": "tokens"},
        model=lambda manifest: MultiVectorEmbedder,
        settings={"late_interaction": MultiVectorSettings},
    ),
)
