"""Read the special tokens of a checkpoint: cls, sep, pad, mask and unk."""

from __future__ import annotations

from pathlib import Path

from mbert.errors import CheckpointError
from mbert.runtime.bundle import TOKENIZER

from .json_files import read_json
from .tokenizer_json import read_tokenizer

SPECIAL_TOKENS = ("cls", "sep", "pad", "mask", "unk")


def special_tokens_of(folder: Path) -> dict[str, str]:
    """Return the text of each special token that the tokenizer's settings name."""
    tokens: dict[str, str] = {}
    for file in (
        "special_tokens_map.json",
        "tokenizer_config.json",
    ):  # the second overrides the first
        contents = read_json(folder / file)
        for name in SPECIAL_TOKENS:
            entry = contents.get(f"{name}_token")
            text = entry.get("content") if isinstance(entry, dict) else entry
            if isinstance(text, str):
                tokens[name] = text
    return tokens


def special_token_ids(folder: Path, vocab_size: int) -> dict[str, int]:
    """Return the id of each special token that the tokenizer's settings name.

    Args:
        folder: of the checkpoint.
        vocab_size: rows of the embedding.

    Returns:
        Ids by name; empty if there is no tokenizer.json.

    Raises:
        CheckpointError: tokenizer.json is not a tokenizer, or a token is missing in it or in the
            embedding.
    """
    path = folder / TOKENIZER
    if not path.exists():
        return {}
    tokenizer = read_tokenizer(path)
    found = {}
    for name, token in special_tokens_of(folder).items():
        token_id = tokenizer.token_to_id(token)
        if token_id is None and name == "unk":
            continue  # byte-level tokenizers name an unk token without having one
        if token_id is None:
            raise CheckpointError(f"{path} has no token {token!r}, the {name} token.")
        if token_id >= vocab_size:
            raise CheckpointError(
                f"{path}: {token!r} is token {token_id}, the vocabulary has {vocab_size}. "
                "Tokenizer and weights do not belong together."
            )
        found[name] = token_id
    return found
