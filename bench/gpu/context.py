"""What a step is given."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .kernels import Kernels


@dataclass(frozen=True)
class Context:
    """The card and the compiled kernels.

    Attributes:
        checkout: the repository.
        kernels: those of the compiled library.
        card: the GPU's name, as its driver has it.
        sm: its compute capability, 10 * major + minor.
        quick: less of everything.
        deadline: of the monotonic clock; what has not begun by then is left out and said so.
        device: where the kernels take their tensors, as PyTorch names it.
    """

    checkout: Path
    kernels: Kernels
    card: str
    sm: int
    quick: bool
    deadline: float
    device: str = "cuda"

    @property
    def late(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() > self.deadline

    @property
    def dtypes(self) -> tuple[str, ...]:
        """What the card computes attention in; tensor cores take bfloat16 from 8.0 on."""
        return ("float32", "float16", *(["bfloat16"] if self.sm >= 80 else []))
