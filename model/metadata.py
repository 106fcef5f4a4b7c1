"""What the files beside the weights say: special tokens, pooling, licence."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from mbert.errors import CheckpointError

from .chain import pooling_modes, scales_text
from .config import POOLINGS
from .json_files import read_json
from .modules import ModuleSpec

ROLES = ("cls", "sep", "pad", "mask", "unk")


def license_of(folder: Path) -> str | None:
    """The licence that the model card's front matter states."""
    try:
        card = (folder / "README.md").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    front_matter = re.match(r"---\r?\n(.*?)\n---", card, re.DOTALL)
    found = front_matter and re.search(
        r"^license:[ \t]*[\"']?([\w.-]*\w)", front_matter[1], re.MULTILINE
    )
    return found[1] if found else None


def special_tokens_of(folder: Path) -> dict[str, str]:
    """The text of the special tokens by role, from the tokenizer's config."""
    tokens: dict[str, str] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):  # the second one decides
        contents = read_json(folder / name)
        for role in ROLES:
            entry = contents.get(f"{role}_token")
            text = entry.get("content") if isinstance(entry, dict) else entry
            if isinstance(text, str):
                tokens[role] = text
    return tokens


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


def pooling_of(modules: Sequence[ModuleSpec]) -> str | None:
    """How the hidden states of a checkpoint with these modules become one vector.

    None where more is done than the pooling by first token or mean that needs nothing but them. A
    checkpoint without modules gets the mean.

    Raises:
        CheckpointError: a pooling whose settings make no sense.
    """
    if not modules:
        return "mean"
    # The length of the vector is the caller's choice.
    pooling = [spec for spec in modules[1:] if spec.kind != "Dropout" and not scales_text(spec)]
    if [spec.kind for spec in pooling] != ["Pooling"] or not pooling[0].flag(
        "include_prompt", True
    ):
        return None
    modes = pooling_modes(pooling[0])
    return modes[0] if len(modes) == 1 and modes[0] in POOLINGS else None
