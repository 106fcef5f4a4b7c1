"""The arguments of a step."""

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
        card: the name of the GPU that its driver reports.
        sm: its compute capability, 10 * major + minor.
        quick: less of everything.
        deadline: of the monotonic clock, in seconds; later work is skipped and noted.
        device: of the kernels' tensors, for PyTorch.
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
        """Return whether the time is up."""
        return time.monotonic() > self.deadline

    @property
    def dtypes(self) -> tuple[str, ...]:
        """Return the types of attention; bfloat16 needs compute capability 8.0."""
        return ("float32", "float16", *(["bfloat16"] if self.sm >= 80 else []))
