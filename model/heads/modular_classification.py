"""Cross encoders of sentence-transformers: scores of pairs of texts, and what becomes of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mbert.errors import CheckpointError

from ..families.modernbert import Encoder
from ..families.modernbert_config import ModelConfig
from .module_spec import MODULES, TRANSFORMER, ModuleSpec
from .prediction_heads import TextClassification
from .sentence_modules import TOKENS, Chain, Packing, Pooling, Step

SCORES = "scores"


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
