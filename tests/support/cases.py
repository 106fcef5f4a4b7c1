"""Cases of the attention operator, for all of its implementations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Case:
    """One packed batch of the operator's inputs."""

    lengths: tuple[int, ...]
    slack: int = 0
    num_heads: int = 2
    head_dim: int = 64
    window: int = 64

    @property
    def id(self) -> str:
        lengths = "+".join(map(str, self.lengths)) or "none"
        return f"{lengths}/slack{self.slack}/h{self.num_heads}x{self.head_dim}/w{self.window}"

    @property
    def scale(self) -> float:
        return self.head_dim**-0.5

    def inputs(self, seed: int = 0) -> dict[str, NDArray[Any]]:
        """Make qkv, cu_seqlens and rope, with scores spread so that the softmax matters."""
        generator = np.random.default_rng(seed)
        tokens = sum(self.lengths) + self.slack
        longest = max(self.lengths, default=1)
        qkv = generator.standard_normal((tokens, 3 * self.num_heads * self.head_dim))
        qkv[:, : self.num_heads * self.head_dim] *= 3
        frequency = 10000.0 ** -(np.arange(0, self.head_dim, 2) / self.head_dim)
        angle = np.arange(max(longest, 1))[:, None] * frequency
        return {
            "qkv": qkv.astype(np.float32),
            "cu_seqlens": np.cumsum((0, *self.lengths), dtype=np.int32),
            "rope": np.concatenate((np.cos(angle), np.sin(angle)), axis=1).astype(np.float32),
        }


WINDOWS = (-1, 0, 1, 64)
HEAD_DIMS = (32, 64, 128)
LENGTHS = (0, 1, 2, 63, 64, 65, 127, 128, 129, 130, 1000)

CASES = (
    *(Case((length,), window=window) for length in LENGTHS for window in WINDOWS),
    *(Case(LENGTHS[:-1], slack=37, window=window) for window in WINDOWS),
    *(
        Case((130, 0, 1, 257), slack=5, num_heads=3, head_dim=head_dim, window=window)
        for head_dim in HEAD_DIMS
        for window in WINDOWS
    ),
    # Head sizes between the usual ones: not whole vectors, and the largest.
    *(
        Case((70, 130), num_heads=2, head_dim=head_dim, window=window)
        for head_dim in (16, 48, 80, 256)
        for window in (-1, 64)
    ),
    # A window wider than a block, an odd one, and empty batches.
    Case((300, 70), window=200),
    Case((300, 70), window=37),
    Case((), window=-1),
    Case((), slack=3, window=64),
    Case((0, 0), slack=0, window=-1),
    Case((0, 0), slack=9, window=64),
)

# Long sequences, for the implementations that are fast enough.
LONG_CASES = tuple(Case((8192,), num_heads=1, window=window) for window in (-1, 64))
