"""Read how a ColBERT checkpoint makes tokens of queries and documents.

The settings are those of sentence-transformers' MultiVectorEncoder: lengths, prefixes and query
expansion belong to its Transformer, the skip list to its MultiVectorMask.
:mod:`mbert.export.checkpoint.pylate` translates a PyLate folder into these.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tokenizers import Tokenizer

from mbert.errors import CheckpointError
from mbert.model.families.modernbert_config import ModelConfig
from mbert.runtime.manifest import Limits
from mbert.runtime.tasks.multi_vector import (
    ROLES,
    MultiVectorSettings,
    QueryExpansion,
    RoleSettings,
)

from .modules_json import MASK, ModuleSpec
from .sentence_settings import SETTINGS, longest_text, read_settings
from .tokenizer_json import read_tokenizer

# Whether the score is the mean over the query's vectors, by similarity_fn_name. Older folders name
# the comparison of two vectors instead.
_IS_MEAN = {"maxsim": False, "meanmaxsim": True, "MaxSim": False, "cosine": False, "dot": False}

# "fixed" also cuts queries to the length of the expansion; "min" only fills them up.
_STRATEGIES = ("fixed", "min")
_EXPANSION_KEYS = {"strategy", "attend", "token", "length"}


class _WrittenExpansion(NamedTuple):
    """A query expansion as the checkpoint writes it, with the token as text (None: mask)."""

    length: int
    attended: bool
    token: str | None
    is_fixed: bool


def attends_to_expansion(modules: Sequence[ModuleSpec]) -> bool:
    """Return whether all tokens of a query attend to its expansion tokens, if it has any.

    Raises:
        CheckpointError: the setting is malformed.
    """
    expansion = _expansion(modules[0])
    return expansion is None or expansion.attended


def check_multi_vector_settings(modules: Sequence[ModuleSpec]) -> None:
    """Raise unless the modules' settings are well-formed, which needs no tokenizer.

    Raises:
        CheckpointError: a setting is malformed or not supported; it is named.
    """
    for role in ROLES:
        modules[0].text(f"{role}_prefix", "")
        _longest(modules[0], role)
    _skipped_words(modules)


def multi_vector_settings(
    folder: Path,
    config: ModelConfig,
    modules: Sequence[ModuleSpec],
    tokenizer_file: Path,
    mask: int | None,
    limits: Limits,
) -> MultiVectorSettings | None:
    """Read the settings, with tokens as ids of the tokenizer.

    Args:
        folder: of the checkpoint.
        config: of the encoder.
        modules: what modules.json lists.
        tokenizer_file: the bundle's tokenizer.json.
        mask: id of the mask token; None if the tokenizer names none.
        limits: of the bundle.

    Returns:
        None if there is no tokenizer.

    Raises:
        CheckpointError: a setting is malformed, a prefix or expansion token is not in the
            vocabulary, or the expansion is longer than the bundle's longest sequence.
    """
    check_multi_vector_settings(modules)
    if not tokenizer_file.exists():
        return None
    tokenizer, vocab_size = read_tokenizer(tokenizer_file), config.vocab_size
    settings = read_settings(folder)
    prompts = _prompts(settings)
    cap = limits.max_sequence_length
    usual = min(cap, longest_text(folder, config, modules))
    words = _skipped_words(modules)
    roles = {}
    for role in ROLES:
        text = modules[0].text(f"{role}_prefix", "")
        roles[role] = RoleSettings(
            # A prompt may repeat the prefix, which the runtime adds as a token.
            prompt=prompts[role].removeprefix(text),
            prefix=_token_id(tokenizer, text, f"{role}_prefix", vocab_size) if text else None,
            length=min(_longest(modules[0], role) or usual, cap),
            skipped=_token_ids(tokenizer, words[role], vocab_size),
        )
    expansion = _resolve_expansion(_expansion(modules[0]), tokenizer, mask, vocab_size, cap)
    return MultiVectorSettings(roles["query"], roles["document"], expansion, _is_mean(settings))


def _expansion(spec: ModuleSpec) -> _WrittenExpansion | None:
    settings: Any = spec.settings.get("query_expansion")
    if settings is None:
        return None
    if not isinstance(settings, dict) or not set(settings) <= _EXPANSION_KEYS:
        expected = f"an object of {', '.join(sorted(_EXPANSION_KEYS))}"
        raise spec.unsuited("query_expansion", expected)
    strategy, attended, token = (settings.get(key) for key in ("strategy", "attend", "token"))
    if (
        strategy not in _STRATEGIES
        or not isinstance(attended, bool | None)
        or not isinstance(token, str | None)
        or not _is_length(settings.get("length"))
    ):
        expected = f"a strategy of {', '.join(_STRATEGIES)} and a positive length"
        raise spec.unsuited("query_expansion", expected)
    length = int(settings["length"])
    return _WrittenExpansion(length, bool(attended), token, strategy == "fixed")


def _longest(spec: ModuleSpec, role: str) -> int | None:
    """Return the most tokens of a text of ``role``; None if the folder does not limit them."""
    key = f"{role}_length"
    length = spec.settings.get(key)
    if length is not None and not _is_length(length):
        raise spec.unsuited(key, "a positive integer")
    expansion = _expansion(spec) if role == "query" else None
    if expansion is None:
        return length
    if expansion.is_fixed:
        return expansion.length
    return None if length is None else max(length, expansion.length)


def _is_length(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _skipped_words(modules: Sequence[ModuleSpec]) -> dict[str, tuple[str, ...]]:
    """Return the words that get no vector, by role."""
    skipped: dict[str, tuple[str, ...]] = dict.fromkeys(ROLES, ())
    for spec in modules[1:]:
        if spec.kind != MASK:
            continue
        words = _words(spec, "skiplist_words", ())
        roles = _words(spec, "skiplist_tasks", ("document",))
        skipped.update((role, skipped[role] + words) for role in ROLES if role in roles)
        if spec.settings.get("keep_only_token_ids"):
            raise spec.unsuited("keep_only_token_ids", "nothing: mbert reads no images")
    return skipped


def _words(spec: ModuleSpec, key: str, default: tuple[str, ...]) -> tuple[str, ...]:
    words = spec.settings.get(key)
    if words is None:
        return default
    listed = [words] if isinstance(words, str) else words
    if not isinstance(listed, list) or not all(isinstance(word, str) for word in listed):
        raise spec.unsuited(key, "a list of strings")
    return tuple(listed)


def _prompts(settings: dict[str, Any]) -> dict[str, str]:
    """Return the prompt of each role."""
    prompts = settings.get("prompts") or {}
    if not isinstance(prompts, dict):
        raise CheckpointError(f"{SETTINGS}: prompts is {prompts!r}; expected an object of strings.")
    found = {role: prompts.get(role) or "" for role in ROLES}
    for role, prompt in found.items():
        if not isinstance(prompt, str):
            raise CheckpointError(
                f"{SETTINGS}: the prompt {role} is {prompt!r}; expected a string."
            )
    return found


def _is_mean(settings: dict[str, Any]) -> bool:
    similarity = settings.get("similarity_fn_name") or "maxsim"
    if similarity not in _IS_MEAN:
        raise CheckpointError(
            f"{SETTINGS}: similarity_fn_name is {similarity!r}; mbert scores token vectors by "
            f"{', '.join(_IS_MEAN)}."
        )
    return _IS_MEAN[similarity]


def _resolve_expansion(
    written: _WrittenExpansion | None,
    tokenizer: Tokenizer,
    mask: int | None,
    vocab_size: int,
    longest: int,
) -> QueryExpansion | None:
    if written is None:
        return None
    if written.length > longest:
        raise CheckpointError(
            f"Queries are expanded to {written.length} tokens; the bundle takes up to {longest}. "
            "Export with a larger --max-sequence-length."
        )
    if written.token is not None:
        mask = _token_id(tokenizer, written.token, "query_expansion", vocab_size)
    if mask is None:
        raise CheckpointError(
            "Queries are expanded with the mask token, and the tokenizer names none. Name it in "
            "tokenizer_config.json (mask_token)."
        )
    return QueryExpansion(mask, written.length, written.attended)


def _token_id(tokenizer: Tokenizer, token: str, key: str, vocab_size: int) -> int:
    token_id: int | None = tokenizer.token_to_id(token)
    if token_id is None or token_id >= vocab_size:
        raise CheckpointError(
            f"{key} is {token!r}, which is no token of tokenizer.json with a row in the embedding. "
            "Add both, or set it to an empty string."
        )
    return token_id


def _token_ids(tokenizer: Tokenizer, words: Sequence[str], vocab_size: int) -> tuple[int, ...]:
    """Return the sorted ids of ``words``, without those that are not a token."""
    ids = (tokenizer.token_to_id(word) for word in words)
    return tuple(sorted({i for i in ids if i is not None and i < vocab_size}))
