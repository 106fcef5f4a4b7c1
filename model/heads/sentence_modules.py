"""The modules that follow the encoder in a sentence-transformers checkpoint.

As in sentence-transformers, each module reads one named feature and writes one. Features of tokens
are [tokens, width] and features of sequences [sequences, width], packed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..operators.pooling import varlen_pooling

TOKENS = "token_embeddings"
SENTENCE = "sentence_embedding"
SCORES = "scores"


@dataclass(frozen=True)
class Packing:
    """Where each sequence begins, and which of its tokens count in pooling.

    Attributes:
        cu_seqlens: int32 [sequences + 1].
        counted_rows: int32 [tokens]: the rows that count, sequence by sequence, then slack.
            None: all rows count.
        counted_offsets: int32 [sequences + 1]: cumulative numbers of counted rows.
    """

    cu_seqlens: Tensor
    counted_rows: Tensor | None = None
    counted_offsets: Tensor | None = None


class FeatureModule(nn.Module):
    """A module of the pipeline: computes the feature ``writes`` from the feature ``reads``."""

    reads: str
    writes: str

    def forward(self, x: Tensor, packing: Packing) -> Tensor:
        """[rows, width] -> [rows, width of the output]."""
        raise NotImplementedError


class Pooling(FeatureModule):
    """One vector for each sequence: the poolings of several modes, concatenated."""

    reads = TOKENS
    writes = SENTENCE

    def __init__(self, modes: tuple[str, ...], includes_prompt: bool = True) -> None:
        """Pool by each of ``modes``; without ``includes_prompt``, over counted rows alone."""
        super().__init__()
        self.modes = modes
        self.includes_prompt = includes_prompt

    def forward(self, x: Tensor, packing: Packing) -> Tensor:
        """[tokens, width] -> [sequences, width * modes]."""
        offsets = packing.cu_seqlens
        skipped = None
        if not self.includes_prompt and packing.counted_rows is not None:
            assert packing.counted_offsets is not None
            skipped = offsets.diff() - packing.counted_offsets.diff()
            offsets = packing.counted_offsets
            x = F.embedding(packing.counted_rows.clamp(0, x.shape[0] - 1), x)
        pooled = [self._pool(x, offsets, mode, skipped) for mode in self.modes]
        return torch.cat(pooled, dim=-1) if len(pooled) > 1 else pooled[0]

    @staticmethod
    def _pool(x: Tensor, offsets: Tensor, mode: str, skipped: Tensor | None) -> Tensor:
        pooled = varlen_pooling(x, offsets, mode)
        if mode != "weightedmean" or skipped is None:
            return pooled
        # A row's weight is its position in the whole sequence: its position among the counted rows
        # plus the number of skipped ones. Over n rows these parts sum to n (n + 1) / 2 and
        # n * skipped.
        twice = 2 * skipped.float()
        share = (twice / (offsets.diff().float() + 1 + twice)).to(x.dtype)
        return pooled + share[:, None] * (varlen_pooling(x, offsets, "mean") - pooled)


class Dense(FeatureModule):
    """A linear layer and an activation, optionally with a residual."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bias: bool,
        activation: nn.Module,
        has_residual: bool,
        reads: str,
        writes: str,
    ) -> None:
        """Make the layer; a residual between different widths gets a projection."""
        super().__init__()
        self.reads, self.writes = reads, writes
        self.linear = nn.Linear(in_features, out_features, bias=bias)
        self.activation = activation
        self.has_residual = has_residual
        self.residual: nn.Module = nn.Identity()
        if has_residual and in_features != out_features:
            self.residual = nn.Linear(in_features, out_features, bias=False)

    def forward(self, x: Tensor, packing: Packing) -> Tensor:
        """[rows, in_features] -> [rows, out_features]."""
        y = self.activation(self.linear(x))
        return y + self.residual(x) if self.has_residual else y


class LayerNorm(FeatureModule):
    """LayerNorm of a sequence's vector."""

    reads = writes = SENTENCE

    def __init__(self, width: int) -> None:
        """Make the norm over ``width`` channels."""
        super().__init__()
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, packing: Packing) -> Tensor:
        """[sequences, width] -> [sequences, width]."""
        return self.norm(x)


class Normalize(FeatureModule):
    """Scale each row to length 1."""

    def __init__(self, reads: str, writes: str) -> None:
        """Take the names of the features."""
        super().__init__()
        self.reads, self.writes = reads, writes

    def forward(self, x: Tensor, packing: Packing) -> Tensor:
        """[rows, width] -> [rows, width]."""
        # In float32, because squares overflow early in half precision.
        work = x if x.dtype == torch.float64 else x.float()
        return F.normalize(work, dim=-1).to(x.dtype)


class ModulePipeline(nn.Module):
    """The modules after the encoder, in order.

    ``widths`` are the channels of each feature by its name; the first feature is
    ``token_embeddings``.
    """

    def __init__(self, steps: Iterable[FeatureModule], widths: Mapping[str, int]) -> None:
        """Take the modules in the order in which they run."""
        super().__init__()
        self.steps = nn.ModuleList(steps)
        self.widths = dict(widths)

    def features_of_sequences(self) -> set[str]:
        """Return the names of the features that have a row for each sequence."""
        of_tokens = {TOKENS}
        for step in self.steps:
            assert isinstance(step, FeatureModule)
            if step.reads in of_tokens and not isinstance(step, Pooling):
                of_tokens.add(step.writes)
            else:
                of_tokens.discard(step.writes)
        return set(self.widths) - {TOKENS} - of_tokens

    def forward(self, hidden: Tensor, packing: Packing) -> dict[str, Tensor]:
        """[tokens, hidden] -> every feature by its name, after the last module."""
        features = {TOKENS: hidden}
        for step in self.steps:
            assert isinstance(step, FeatureModule)
            features[step.writes] = step(features[step.reads], packing)
        return features
