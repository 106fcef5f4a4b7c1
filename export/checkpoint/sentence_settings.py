"""Read ``config_sentence_transformers.json`` and the longest text of a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mbert.errors import CheckpointError
from mbert.model.families.modernbert_config import ModelConfig

from .json_files import read_json
from .modules_json import ModuleSpec

SETTINGS = "config_sentence_transformers.json"


def read_settings(folder: Path) -> dict[str, Any]:
    """Read the settings of a checkpoint; empty if there is no such file.

    Raises:
        CheckpointError: the file cannot be read, or is not a JSON object.
    """
    settings: dict[str, Any] = read_json(folder / SETTINGS)
    return settings


def prompts_of(
    settings: Mapping[str, Any], names: Sequence[str] = ()
) -> tuple[dict[str, str], str | None]:
    """Return the prompts by name, and the name of the default prompt.

    Args:
        settings: contents of the file.
        names: prompts that exist in any case, empty unless the file sets them.

    Raises:
        CheckpointError: a prompt is not a string, or the default is not a prompt.
    """
    named = settings.get("prompts") or {}
    if not isinstance(named, dict) or any(not isinstance(v, str | None) for v in named.values()):
        raise unsuited(settings, "prompts", "an object from names to strings")
    prompts = {name: text or "" for name, text in {**dict.fromkeys(names), **named}.items()}
    default = settings.get("default_prompt_name")
    if default is not None and default not in list(prompts):
        raise unsuited(settings, "default_prompt_name", f"one of {', '.join(prompts)}")
    return prompts, default


def unsuited(settings: Mapping[str, Any], key: str, expected: str) -> CheckpointError:
    """Make the error for a setting with an unexpected value."""
    return CheckpointError(f"{SETTINGS}: {key} is {settings[key]!r}; expected {expected}.")


def longest_text(folder: Path, config: ModelConfig, modules: Sequence[ModuleSpec]) -> int:
    """Return how many tokens sentence-transformers keeps of a text, special tokens included.

    This is the transformer's max_seq_length, else the tokenizer's model_max_length, and at most
    the encoder's max_position_embeddings.

    Raises:
        CheckpointError: the length is not a positive number.
    """
    length = modules[0].settings.get("max_seq_length") if modules else None
    key = f"{modules[0].config}: max_seq_length" if modules else ""
    if length is None:
        file, name = "tokenizer_config.json", "model_max_length"
        key = f"{file}: {name}"
        length = read_json(folder / file).get(name, config.max_position_embeddings)
    if isinstance(length, bool) or not isinstance(length, int | float) or not length >= 1:
        raise CheckpointError(f"{key} is {length!r}; expected a positive number.")
    return int(min(length, config.max_position_embeddings))
