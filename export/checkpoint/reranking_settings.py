"""What sentence-transformers saved of a cross encoder: its activation and its prompts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mbert.errors import CheckpointError
from mbert.model.heads.module_spec import SETTINGS
from mbert.model.heads.sentence_modules import activation_kind

from .embedding_settings import prompts_of
from .json_files import read_json

ACTIVATIONS = ("Identity", "Sigmoid", "Tanh", "ReLU")


@dataclass(frozen=True)
class RerankingSettings:
    """What a cross encoder of one label makes of its logits, and puts in front of a query.

    Attributes:
        activation: one of ``ACTIVATIONS``.
        prompts: by name.
        default_prompt: the name of the one that is used where none is asked for.
    """

    activation: str
    prompts: dict[str, str]
    default_prompt: str | None


def reranking_settings(folder: Path) -> RerankingSettings:
    """Read what sentence-transformers saved; its defaults where there is nothing.

    Raises:
        CheckpointError: a file cannot be read; an activation that is not supported.
    """
    settings = read_json(folder / SETTINGS)
    prompts, default = prompts_of(settings)
    config = read_json(folder / "config.json")
    of_library = config.get("sentence_transformers")
    if not isinstance(of_library, dict):
        of_library = {}
    # Where the library looks, in its order; the last is that of releases before 4.
    named = (
        (SETTINGS, "activation_fn", settings),
        ("config.json: sentence_transformers", "activation_fn", of_library),
        ("config.json", "sbert_ce_default_activation_function", config),
    )
    for file, key, contents in named:
        if contents.get(key) is not None:
            activation = _activation(file, key, contents[key])
            break
    else:
        activation = "Sigmoid"
    return RerankingSettings(activation, prompts, default)


def _activation(file: str, key: str, name: Any) -> str:
    kind = activation_kind(name, ACTIVATIONS)
    if kind is None:
        raise CheckpointError(
            f"{file}: {key} is {name!r}; expected one of torch.nn: {', '.join(ACTIVATIONS)}."
        )
    return kind
