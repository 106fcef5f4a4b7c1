"""The encoder and the modules after it: one vector for each token."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from ..families.modernbert import Encoder
from ..families.modernbert_config import ModelConfig
from ..families.query_expansion import Expansion
from .module_spec import MASK, ModuleSpec
from .sentence_modules import TOKENS, Chain, Packing


class MultiVector(nn.Module):
    """The encoder, and a vector for each of its tokens."""

    def __init__(self, config: ModelConfig, modules: Sequence[ModuleSpec]) -> None:
        """Make the modules for ``config`` and what modules.json lists."""
        super().__init__()
        self.model = Encoder(config)
        # The mask chooses among the vectors, which is left to the runtime.
        self.chain = Chain([spec for spec in modules if spec.kind != MASK], config.hidden_size)

    def forward(self, input_ids: Tensor, cu_seqlens: Tensor) -> Tensor:
        """-> token_embeddings [tokens, dim]."""
        return self._vectors(self.model(input_ids, cu_seqlens), cu_seqlens)

    def _vectors(self, hidden: Tensor, cu_seqlens: Tensor) -> Tensor:
        return self.chain(hidden, Packing(cu_seqlens))[TOKENS]


class ExpandedMultiVector(MultiVector):
    """The same, with tokens that see and are not seen."""

    def forward(  # type: ignore[override]
        self, input_ids: Tensor, cu_seqlens: Tensor, expansions: Tensor, seen: Tensor
    ) -> Tensor:
        """-> token_embeddings [tokens, dim].

        ``expansions`` int32 [expansions, 2] and ``seen`` int32 [seen, 3] as in
        :class:`mbert.model.families.query_expansion.Expansion`.
        """
        hidden = self.model(input_ids, cu_seqlens, Expansion(expansions, seen))
        return self._vectors(hidden, cu_seqlens)
