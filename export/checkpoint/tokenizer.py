"""Complete ``tokenizer.json`` with the settings in the files beside it.

transformers' AutoTokenizer reads all of these files; a bundle has tokenizer.json alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import AddedToken

from mbert.errors import CheckpointError

from .json_files import read_json
from .special_tokens import special_tokens_of
from .tokenizer_json import read_tokenizer

_CONFIG = "tokenizer_config.json"
_ADDED = "added_tokens.json"
_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")


def complete_tokenizer(checkpoint: Path, copy: Path, longest: int) -> None:
    """Add to a copy of tokenizer.json the settings that AutoTokenizer reads elsewhere.

    These are the flags of tokens in ``added_tokens_decoder``; the tokens of ``added_tokens.json``,
    ``extra_special_tokens`` and ``additional_special_tokens``; and ``truncation_side``. A file that
    has them already is not rewritten.

    Args:
        checkpoint: folder of the checkpoint.
        copy: the bundle's tokenizer.json; it may be absent.
        longest: ``max_sequence_length`` of the bundle, stored with a changed truncation side.

    Raises:
        CheckpointError: a setting is malformed or not supported.
    """
    if not copy.exists():
        return
    tokenizer = read_tokenizer(copy)
    as_copied = tokenizer.to_str()
    config = read_json(checkpoint / _CONFIG)
    if config.get("split_special_tokens"):
        raise CheckpointError(
            f"{checkpoint / _CONFIG}: split_special_tokens is {config['split_special_tokens']!r}; "
            "expected false: mbert reads a special token in a text as that token."
        )
    tokenizer.add_tokens(_replacing_tokens(checkpoint, config))
    known = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    further = (*_older_tokens(checkpoint, config), *_extra_tokens(config))
    tokenizer.add_tokens([token for token in further if token.content not in known])
    saved = (tokenizer.truncation or {}).get("direction", "right")
    side = config.get("truncation_side", saved)
    if side not in ("left", "right"):
        raise CheckpointError(
            f"{checkpoint / _CONFIG}: truncation_side is {side!r}; expected 'left' or 'right'."
        )
    if side != saved:
        tokenizer.enable_truncation(longest, direction=side)
    if tokenizer.to_str() != as_copied:
        tokenizer.save(str(copy))


def _replacing_tokens(checkpoint: Path, config: Mapping[str, Any]) -> list[AddedToken]:
    """Return the tokens of ``added_tokens_decoder``, which replace those of the same text."""
    where = f"{checkpoint / _CONFIG}: added_tokens_decoder"
    entries = config.get("added_tokens_decoder", {})
    if not isinstance(entries, dict) or not all(str(key).isdecimal() for key in entries):
        raise CheckpointError(f"{where} is not an object with an entry for each token id.")
    return [_token(entries[key], where) for key in sorted(entries, key=int)]


def _older_tokens(checkpoint: Path, config: Mapping[str, Any]) -> list[AddedToken]:
    """Return the tokens of added_tokens.json, which ``added_tokens_decoder`` supersedes."""
    entries = {} if "added_tokens_decoder" in config else read_json(checkpoint / _ADDED)
    if not all(isinstance(token_id, int) for token_id in entries.values()):
        raise CheckpointError(f"{checkpoint / _ADDED} is not an object of tokens with their ids.")
    special = set(special_tokens_of(checkpoint).values())
    special.update(token.content for token in _extra_tokens(config))
    return [
        AddedToken(text, normalized=text not in special, special=text in special)
        for text in sorted(entries, key=entries.__getitem__)
    ]


def _extra_tokens(config: Mapping[str, Any]) -> list[AddedToken]:
    """Return the special tokens beside cls, sep, pad, mask and unk."""
    tokens = []
    for key in ("extra_special_tokens", "additional_special_tokens"):
        entries = config.get(key) or []
        where = f"{_CONFIG}: {key}"
        if not isinstance(entries, list | dict):
            raise CheckpointError(f"{where} is {entries!r}; expected a list of tokens.")
        for entry in entries.values() if isinstance(entries, dict) else entries:
            plain = isinstance(entry, str)
            tokens.append(AddedToken(entry, special=True) if plain else _token(entry, where))
    return tokens


def _token(entry: Any, where: str) -> AddedToken:
    if not isinstance(entry, dict) or not isinstance(entry.get("content"), str):
        raise CheckpointError(f"{where}: {entry!r} is not a token with its content.")
    return AddedToken(entry["content"], **{key: bool(entry[key]) for key in _FLAGS if key in entry})
