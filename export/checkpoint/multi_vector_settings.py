"""ColBERT: a vector for every token, of a query's and of a document's on different terms.

The settings are those of sentence-transformers' MultiVectorEncoder: lengths and query expansion
belong to its transformer, the skip list to its MultiVectorMask.
:mod:`mbert.export.checkpoint.pylate` turns a PyLate folder into these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from mbert.errors import CheckpointError
from mbert.model.heads.module_spec import MASK, SETTINGS, ModuleSpec
from mbert.runtime.manifest import Limits
from mbert.runtime.tasks import multi_vector as runtime

from .embedding_settings import longest_sequence
from .folder import Checkpoint
from .json_files import read_json

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
        skipped: dict[str, tuple[str, ...]] = dict.fromkeys(runtime.ROLES, ())
        for spec in modules[1:]:
            if spec.kind == MASK:
                words = _words(spec, "skiplist_words", ())
                roles = _words(spec, "skiplist_tasks", ("document",))
                skipped.update(
                    (role, skipped[role] + words) for role in runtime.ROLES if role in roles
                )
                if spec.settings.get("keep_only_token_ids"):
                    raise spec.unsuited("keep_only_token_ids", "nothing: mbert reads no images")
        query, document = (
            Terms(transformer.text(f"{role}_prefix", "") or None, lengths[role], skipped[role])
            for role in runtime.ROLES
        )
        return cls(query, document, expansion)


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


# By the name of a folder's similarity: whether the score is the mean over the query's vectors.
# Older folders name what two vectors are compared by.
_IS_MEAN = {"maxsim": False, "meanmaxsim": True, "MaxSim": False, "cosine": False, "dot": False}


def resolve(
    checkpoint: Checkpoint, tokenizer_file: Path, mask: int | None, limits: Limits
) -> runtime.MultiVectorSettings | None:
    """Settle the terms of queries and documents for the manifest.

    Args:
        checkpoint: whose modules name them.
        tokenizer_file: the bundle's tokenizer.json.
        mask: id of the mask token; None: the tokenizer names none.
        limits: of the bundle.

    Returns:
        None where there is no tokenizer.

    Raises:
        CheckpointError: a prefix or an expansion that the vocabulary lacks, or an expansion that is
            longer than the bundle takes.
    """
    found = LateInteraction.of(checkpoint.modules)
    if not tokenizer_file.exists():
        return None
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    longest, vocabulary = limits.max_sequence_length, checkpoint.config.vocab_size
    settings = read_json(checkpoint.folder / SETTINGS)
    prompts = settings.get("prompts") or {}
    if not isinstance(prompts, dict):
        raise CheckpointError(f"{SETTINGS}: prompts is {prompts!r}; expected an object of texts.")
    similarity = settings.get("similarity_fn_name") or "maxsim"
    if similarity not in _IS_MEAN:
        raise CheckpointError(
            f"{SETTINGS}: similarity_fn_name is {similarity!r}; mbert scores tokens' vectors by "
            f"{', '.join(_IS_MEAN)}."
        )
    usual = min(longest, longest_sequence(checkpoint.folder, checkpoint.config, checkpoint.modules))
    terms = {}
    for role in runtime.ROLES:
        given = getattr(found, role)
        prefix = None
        if given.prefix is not None:
            prefix = _id(tokenizer, given.prefix, f"{role}_prefix", vocabulary)
        # A word that is no token is never met.
        ids = (tokenizer.token_to_id(word) for word in given.skipped)
        skipped = tuple(sorted({i for i in ids if i is not None and i < vocabulary}))
        prompt = prompts.get(role) or ""
        if not isinstance(prompt, str):
            raise CheckpointError(f"{SETTINGS}: the prompt {role} is {prompt!r}; expected a text.")
        # A prompt may repeat the prefix, which is a token of its own here.
        prompt = prompt.removeprefix(given.prefix or "")
        length = min(given.length or usual, longest)
        terms[role] = runtime.RoleSettings(prompt, prefix, length, skipped)
    expansion = None
    if found.expansion is not None:
        if found.expansion.length > longest:
            raise CheckpointError(
                f"Queries are expanded to {found.expansion.length} tokens; the bundle takes up to "
                f"{longest}. Export with a larger --max-sequence-length."
            )
        if found.expansion.token is not None:
            mask = _id(tokenizer, found.expansion.token, "query_expansion", vocabulary)
        if mask is None:
            raise CheckpointError(
                "Queries are expanded with the mask token, and the tokenizer names none. Name it "
                "in tokenizer_config.json (mask_token)."
            )
        expansion = runtime.QueryExpansion(mask, found.expansion.length, found.expansion.attended)
    mean = _IS_MEAN[similarity]
    return runtime.MultiVectorSettings(terms["query"], terms["document"], expansion, mean)


def _id(tokenizer: Tokenizer, token: str, key: str, vocab_size: int) -> int:
    token_id: int | None = tokenizer.token_to_id(token)
    if token_id is None or token_id >= vocab_size:
        raise CheckpointError(
            f"{key} is {token!r}, which is no token of tokenizer.json with a row in the embedding. "
            "Add both, or set it to an empty text."
        )
    return token_id
