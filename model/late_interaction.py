"""ColBERT: a vector for every token, of a query's and of a document's on different terms.

The settings are those of sentence-transformers' MultiVectorEncoder: lengths and query expansion
belong to its transformer, the skip list to its MultiVectorMask. :mod:`mbert.model.pylate` turns a
PyLate folder into these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from mbert.errors import CheckpointError

from .chain import TOKENS, Chain, Packing
from .config import ModelConfig
from .encoder import Encoder
from .expansion import Expansion
from .modules import MODULES, ModuleSpec

MASK = "MultiVectorMask"

ROLES = ("query", "document")
# Widths of a query: the expansion fills it up, and cuts what is longer; or only fills it up.
_STRATEGIES = ("fixed", "min")


@dataclass(frozen=True)
class QueryExpansion:
    """Mask tokens after a query that is short.

    Attributes:
        length: tokens that a query has at least.
        attended: whether other tokens attend to them. If not they see and are not seen.
        token: None: the tokenizer's mask token.
    """

    length: int
    attended: bool
    token: str | None


@dataclass(frozen=True)
class Terms:
    """How texts of one role become tokens.

    Attributes:
        prefix: a token that is put behind the first one; None: none.
        length: the most tokens, expansion and prefix included; None: as many as the encoder takes.
        skipped: tokens that get no vector.
    """

    prefix: str | None
    length: int | None
    skipped: tuple[str, ...]


@dataclass(frozen=True)
class LateInteraction:
    """What a checkpoint says of queries and documents."""

    query: Terms
    document: Terms
    expansion: QueryExpansion | None

    @classmethod
    def of(cls, modules: Sequence[ModuleSpec]) -> LateInteraction:
        """Read the settings of a checkpoint's modules.

        Raises:
            CheckpointError: a setting that makes no sense, or is not supported; it is named.
        """
        transformer = modules[0]
        expansion, longest_query = _query_expansion(transformer)
        lengths = {"query": longest_query, "document": _length(transformer, "document_length")}
        skipped: dict[str, tuple[str, ...]] = dict.fromkeys(ROLES, ())
        for spec in modules[1:]:
            if spec.kind == MASK:
                words = _words(spec, "skiplist_words", ())
                roles = _words(spec, "skiplist_tasks", ("document",))
                skipped.update((role, skipped[role] + words) for role in ROLES if role in roles)
                if spec.settings.get("keep_only_token_ids"):
                    raise spec.unsuited("keep_only_token_ids", "nothing: mbert reads no images")
        query, document = (
            Terms(transformer.text(f"{role}_prefix", "") or None, lengths[role], skipped[role])
            for role in ROLES
        )
        return cls(query, document, expansion)


class MultiVector(nn.Module):
    """The encoder, and a vector for each of its tokens."""

    def __init__(self, config: ModelConfig, modules: Sequence[ModuleSpec]) -> None:
        """Use :func:`multi_vector`."""
        super().__init__()
        self.model = Encoder(config)
        # The mask chooses among the vectors, which is left to the runtime.
        self.chain = Chain([spec for spec in modules if spec.kind != MASK], config.hidden_size)

    def forward(self, input_ids: Tensor, cu_seqlens: Tensor) -> Tensor:
        """-> token_embeddings [tokens, dim]."""
        return self._vectors(self.model(input_ids, cu_seqlens), cu_seqlens)

    def _vectors(self, hidden: Tensor, cu_seqlens: Tensor) -> Tensor:
        return self.chain(hidden, Packing(cu_seqlens))[TOKENS]


class ExpandedMultiVector(MultiVector):
    """The same, with tokens that see and are not seen."""

    def forward(  # type: ignore[override]
        self, input_ids: Tensor, cu_seqlens: Tensor, expansions: Tensor, seen: Tensor
    ) -> Tensor:
        """-> token_embeddings [tokens, dim].

        ``expansions`` int32 [expansions, 2] and ``seen`` int32 [seen, 3] as in
        :class:`mbert.model.expansion.Expansion`.
        """
        hidden = self.model(input_ids, cu_seqlens, Expansion(expansions, seen))
        return self._vectors(hidden, cu_seqlens)


def multi_vector(config: ModelConfig, modules: Sequence[ModuleSpec]) -> MultiVector:
    """Make the module of the task, of the class that the query expansion needs.

    Raises:
        CheckpointError: no modules, or some that do not fit together.
    """
    kinds = [spec.kind for spec in modules]
    if not modules or "Pooling" in kinds:
        raise CheckpointError(
            f"{MODULES} lists {', '.join(kinds) or 'nothing'}; multi-vector needs a transformer "
            "and what makes a vector of each token, without Pooling."
        )
    expansion = LateInteraction.of(modules).expansion
    unseen = expansion is not None and not expansion.attended
    return (ExpandedMultiVector if unseen else MultiVector)(config, modules)


def _query_expansion(spec: ModuleSpec) -> tuple[QueryExpansion | None, int | None]:
    """The expansion, and the most tokens of a query."""
    ceiling = _length(spec, "query_length")
    settings: Any = spec.settings.get("query_expansion")
    if settings is None:
        return None, ceiling
    known = {"strategy", "attend", "token", "length"}
    if not isinstance(settings, dict) or not set(settings) <= known:
        raise spec.unsuited("query_expansion", f"an object of {', '.join(sorted(known))}")
    strategy, attended, token = (settings.get(key) for key in ("strategy", "attend", "token"))
    if (
        strategy not in _STRATEGIES
        or not isinstance(attended, bool | None)
        or not isinstance(token, str | None)
        or not _is_length(settings.get("length"))
    ):
        raise spec.unsuited(
            "query_expansion", f"a strategy of {', '.join(_STRATEGIES)} and a length from 1 on"
        )
    length = int(settings["length"])
    if strategy == "fixed":
        ceiling = length
    elif ceiling is not None:
        ceiling = max(ceiling, length)
    return QueryExpansion(length, bool(attended), token), ceiling


def _length(spec: ModuleSpec, key: str) -> int | None:
    length = spec.settings.get(key)
    if length is not None and not _is_length(length):
        raise spec.unsuited(key, "an integer from 1 on")
    return length


def _is_length(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _words(spec: ModuleSpec, key: str, default: tuple[str, ...]) -> tuple[str, ...]:
    words = spec.settings.get(key)
    if words is None:
        return default
    listed = [words] if isinstance(words, str) else words
    if not isinstance(listed, list) or not all(isinstance(word, str) for word in listed):
        raise spec.unsuited(key, "a list of texts")
    return tuple(listed)
