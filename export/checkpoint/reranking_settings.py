"""Read how a cross encoder scores pairs: its activation and its prompts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mbert.errors import CheckpointError
from mbert.runtime.tasks.reranking import ACTIVATIONS, RerankingSettings

from .json_files import read_json
from .sentence_modules import torch_class
from .sentence_settings import SETTINGS, prompts_of, read_settings


def reranking_settings(folder: Path) -> RerankingSettings:
    """Read the cross-encoder settings that sentence-transformers saved, or its defaults.

    Raises:
        CheckpointError: a file cannot be read, or an activation is not supported.
    """
    settings = read_settings(folder)
    prompts, default_prompt = prompts_of(settings)
    return RerankingSettings(
        _activation(settings, read_json(folder / "config.json")), prompts, default_prompt
    )


def _activation(settings: dict[str, Any], config: dict[str, Any]) -> str:
    """Find the activation where sentence-transformers looks for it, in the same order."""
    library = config.get("sentence_transformers")
    places = (
        (SETTINGS, "activation_fn", settings),
        (
            "config.json: sentence_transformers",
            "activation_fn",
            library if isinstance(library, dict) else {},
        ),
        # Written by releases before 4.
        ("config.json", "sbert_ce_default_activation_function", config),
    )
    for file, key, contents in places:
        name = contents.get(key)
        if name is None:
            continue
        kind = torch_class(name, ACTIVATIONS)
        if kind is None:
            raise CheckpointError(
                f"{file}: {key} is {name!r}; expected one of torch.nn: {', '.join(ACTIVATIONS)}."
            )
        return kind
    return "Sigmoid"
