"""Special tokens: cls, sep, pad, mask and unk."""

from __future__ import annotations

from pathlib import Path

from mbert.errors import CheckpointError
from mbert.runtime.bundle import TOKENIZER

from .json_files import read_json
from .tokenizer_json import read_tokenizer

SPECIAL_TOKENS = ("cls", "sep", "pad", "mask", "unk")


def special_tokens_of(folder: Path) -> dict[str, str]:
    """The text of the special tokens by role, from the tokenizer's config."""
    tokens: dict[str, str] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):  # the second one decides
        contents = read_json(folder / name)
        for role in SPECIAL_TOKENS:
            entry = contents.get(f"{role}_token")
            text = entry.get("content") if isinstance(entry, dict) else entry
            if isinstance(text, str):
                tokens[role] = text
    return tokens


def special_token_ids(folder: Path, vocab_size: int) -> dict[str, int]:
    """Ids of cls, sep, pad, mask and unk, as far as the tokenizer's own files name them.

    Raises:
        CheckpointError: a file that is no tokenizer; a token that it, or the model, does not have.
    """
    path = folder / TOKENIZER
    if not path.exists():
        return {}
    tokenizer = read_tokenizer(path)
    found = {}
    for role, token in special_tokens_of(folder).items():
        token_id = tokenizer.token_to_id(token)
        if token_id is None and role == "unk":
            continue  # a byte-level tokenizer knows every text, and may name one all the same
        if token_id is None:
            raise CheckpointError(f"{path} has no token {token!r}, the {role} token.")
        if token_id >= vocab_size:
            raise CheckpointError(
                f"{path}: {token!r} is token {token_id}, the vocabulary has "
                f"{vocab_size}. Tokenizer and weights do not belong together."
            )
        found[role] = token_id
    return found
