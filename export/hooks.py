"""PyTorch hooks for as long as something runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch.utils.hooks import RemovableHandle


@contextmanager
def hooked(handles: Iterable[RemovableHandle]) -> Iterator[None]:
    """Remove the hooks of ``handles`` at the end."""
    placed = list(handles)
    try:
        yield
    finally:
        for handle in placed:
            handle.remove()
