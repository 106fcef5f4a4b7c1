"""Cross encoders of sentence-transformers: scores of pairs of texts, and what becomes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mbert.errors import CheckpointError

from .chain import TOKENS, Chain, Packing, Pooling, Step, activation_kind
from .config import ModelConfig
from .encoder import Encoder
from .heads import TextClassification
from .json_files import read_json
from .modules import MODULES, SETTINGS, TRANSFORMER, ModuleSpec
from .sentence import prompts_of

SCORES = "scores"
ACTIVATIONS = ("Identity", "Sigmoid", "Tanh", "ReLU")


class ModularClassification(nn.Module):
    """Encoder and chain, whose last module writes the scores of each sequence."""

    def __init__(self, config: ModelConfig, modules: Sequence[ModuleSpec]) -> None:
        """Make the modules for ``config`` and what modules.json lists.

        Raises:
            CheckpointError: something in it is not supported, or it makes no scores of a sequence.
        """
        super().__init__()
        self.model = Encoder(config)
        self.chain = Chain(modules, config.hidden_size)
        if SCORES not in _of_sequences(self.chain):
            raise CheckpointError(
                f"{MODULES} lists nothing that makes scores of a sequence: expected a Pooling and "
                f"a Dense with module_output_name {SCORES!r}."
            )
        if not all(spec.flag("include_prompt", True) for spec in modules):
            raise CheckpointError(
                f"{MODULES}: Pooling has include_prompt false, which text-classification does not "
                "compute: a prompt's tokens count like any other."
            )

    def forward(self, input_ids: Tensor, cu_seqlens: Tensor) -> Tensor:
        """-> logits [sequences, labels]."""
        return self.chain(self.model(input_ids, cu_seqlens), Packing(cu_seqlens))[SCORES]


def text_classification(config: ModelConfig, modules: Sequence[ModuleSpec]) -> nn.Module:
    """Make the module for ``config`` and what modules.json lists, if anything.

    Raises:
        CheckpointError: as :class:`ModularClassification`.
    """
    if is_modular(modules):
        return ModularClassification(config, modules)
    return TextClassification(config)


def writes_scores(modules: Sequence[ModuleSpec]) -> bool:
    """Whether modules.json is a cross encoder's."""
    return any(spec.settings.get("module_output_name") == SCORES for spec in modules)


def is_modular(modules: Sequence[ModuleSpec]) -> bool:
    """Whether there is more than transformers' own classifier."""
    return any(spec.kind not in (TRANSFORMER, "Dropout") for spec in modules)


def labels_of(config: ModelConfig, modules: Sequence[ModuleSpec]) -> tuple[str, ...]:
    """The labels; those of a chain have transformers' default names.

    Raises:
        CheckpointError: as :class:`ModularClassification`.
    """
    if not is_modular(modules):
        return config.id2label
    with torch.device("meta"):
        width = Chain(modules, config.hidden_size).widths.get(SCORES, 0)
    return tuple(f"LABEL_{i}" for i in range(width))


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


def _of_sequences(chain: Chain) -> set[str]:
    """The features with a row for each sequence."""
    of_tokens, names = {TOKENS}, set(chain.widths) - {TOKENS}
    for step in chain.steps:
        assert isinstance(step, Step)
        if step.reads in of_tokens and not isinstance(step, Pooling):
            of_tokens.add(step.writes)
        else:
            of_tokens.discard(step.writes)
    return names - of_tokens
