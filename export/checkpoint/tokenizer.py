"""The tokenizer of a bundle: ``tokenizer.json`` with what the files beside it say of it.

transformers' AutoTokenizer reads all of them. A bundle carries one file that says the same.
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
    """Write into a copy of tokenizer.json what AutoTokenizer takes from the files beside it.

    That is: the flags of tokens in ``added_tokens_decoder``; tokens that ``added_tokens.json``,
    ``extra_special_tokens`` or ``additional_special_tokens`` add; and ``truncation_side``. A file
    that says all of it already, or is not there, stays as it is.

    Args:
        checkpoint: folder of the checkpoint.
        copy: the bundle's tokenizer.json.
        longest: ``max_sequence_length`` of the bundle, which is written beside the side.

    Raises:
        CheckpointError: a setting that is not supported or makes no sense.
    """
    if not copy.exists():
        return
    tokenizer = read_tokenizer(copy)
    as_copied = tokenizer.to_str()
    config = read_json(checkpoint / _CONFIG)
    if config.get("split_special_tokens"):
        raise CheckpointError(
            f"{checkpoint / _CONFIG}: split_special_tokens is {config['split_special_tokens']!r}; "
            "expected false: a special token written in a text is that token. Set it to false."
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
    """Tokens that replace those of the same text, by id."""
    where = f"{checkpoint / _CONFIG}: added_tokens_decoder"
    entries = config.get("added_tokens_decoder", {})
    if not isinstance(entries, dict) or not all(str(key).isdecimal() for key in entries):
        raise CheckpointError(f"{where} is not an object with an entry for each token id.")
    return [_token(entries[key], where) for key in sorted(entries, key=int)]


def _older_tokens(checkpoint: Path, config: Mapping[str, Any]) -> list[AddedToken]:
    """Tokens of the form that came before ``added_tokens_decoder``: text and id, by id."""
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
    """Special tokens without a role; those that are there already stay as they are."""
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


def check_question_first(folder: Path) -> None:
    """Refuse a tokenizer with which transformers puts a question behind its context.

    Raises:
        CheckpointError: it pads on the left, by which transformers' question answering goes.
    """
    side = read_json(folder / "tokenizer_config.json").get("padding_side", "right")
    if side != "right":
        raise CheckpointError(
            f"{folder / 'tokenizer_config.json'}: padding_side is {side!r}, with which the context "
            "comes before the question; mbert puts the question first. Change it to 'right' if "
            "the checkpoint was trained so."
        )
