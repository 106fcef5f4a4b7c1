"""The encoder and the modules after it: one vector for each sequence."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from mbert.errors import CheckpointError

from ..families.modernbert import Encoder
from ..families.modernbert_config import ModelConfig
from .module_spec import MODULES, ModuleSpec
from .sentence_modules import SENTENCE, Chain, Packing


class SentenceSimilarity(nn.Module):
    """Encoder and chain: one vector for each sequence."""

    def __init__(self, config: ModelConfig, modules: Sequence[ModuleSpec]) -> None:
        """Make the modules for ``config`` and what modules.json lists.

        Raises:
            CheckpointError: there is no modules.json, something in it is not supported, or it makes
                no vector of a sequence.
        """
        super().__init__()
        if not modules:
            raise CheckpointError(
                f"The checkpoint has no {MODULES}: sentence-similarity takes the folder that "
                "sentence-transformers saves. Choose feature-extraction, which pools hidden states."
            )
        self.model = Encoder(config)
        self.chain = Chain(modules, config.hidden_size)
        if SENTENCE not in self.chain.widths:
            raise CheckpointError(
                f"{MODULES} lists nothing that makes one vector of a sequence: expected a Pooling."
            )

    def forward(self, input_ids: Tensor, cu_seqlens: Tensor) -> Tensor:
        """-> embedding [sequences, dim]."""
        return self.chain(self.model(input_ids, cu_seqlens), Packing(cu_seqlens))[SENTENCE]


class PromptExcluded(SentenceSimilarity):
    """The same where a prompt's tokens do not count in pooling."""

    def forward(
        self,
        input_ids: Tensor,
        cu_seqlens: Tensor,
        counted_rows: Tensor | None = None,
        counted_offsets: Tensor | None = None,
    ) -> Tensor:
        """counted_*: as in :class:`Packing` -> embedding [sequences, dim]."""
        hidden = self.model(input_ids, cu_seqlens)
        return self.chain(hidden, Packing(cu_seqlens, counted_rows, counted_offsets))[SENTENCE]


def sentence_similarity(config: ModelConfig, modules: Sequence[ModuleSpec]) -> nn.Module:
    """Make the module for ``config`` and what modules.json lists.

    Raises:
        CheckpointError: as :class:`SentenceSimilarity`.
    """
    excludes = any(not spec.flag("include_prompt", True) for spec in modules)
    return (PromptExcluded if excludes else SentenceSimilarity)(config, modules)
