"""What the files beside the weights say: special tokens, pooling, licence."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from mbert.errors import CheckpointError

from .config import POOLINGS

ROLES = ("cls", "sep", "pad", "mask", "unk")

_POOLING_FLAGS = {"pooling_mode_cls_token": "cls", "pooling_mode_mean_tokens": "mean"}


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
        contents = _read(folder / name)
        for role in ROLES:
            entry = contents.get(f"{role}_token")
            text = entry.get("content") if isinstance(entry, dict) else entry
            if isinstance(text, str):
                tokens[role] = text
    return tokens


def pooling_of(folder: Path) -> str | None:
    """How the checkpoint makes one vector of a sequence.

    A sentence-transformers folder says so in modules.json; None where it does more than the pooling
    by first token or mean that mbert computes. A checkpoint without one gets the mean.
    """
    if not (folder / "modules.json").exists():
        return "mean"
    modules = _read(folder / "modules.json", list)
    if not all(isinstance(module, dict) for module in modules):
        raise CheckpointError(f"{folder / 'modules.json'} is not a list of modules.")
    kinds = [str(module.get("type", "")).rsplit(".", 1)[-1] for module in modules]
    # Normalize changes the length of the vector only, and is the caller's choice.
    if [kind for kind in kinds if kind != "Normalize"] != ["Transformer", "Pooling"]:
        return None
    settings = _read(folder / str(modules[kinds.index("Pooling")].get("path", "")) / "config.json")
    chosen = [key for key, on in settings.items() if key.startswith("pooling_mode_") and on is True]
    if "pooling_mode" in settings:  # newer folders name the mode itself
        return settings["pooling_mode"] if settings["pooling_mode"] in POOLINGS else None
    return _POOLING_FLAGS.get(chosen[0]) if len(chosen) == 1 else None


def _read(path: Path, kind: type = dict) -> Any:
    try:
        contents = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return kind()
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read as JSON: {error}.") from error
    if not isinstance(contents, kind):
        raise CheckpointError(f"{path} holds a JSON {type(contents).__name__}, not what it should.")
    return contents
