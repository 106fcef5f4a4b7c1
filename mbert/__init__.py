"""mbert: from a ModernBERT checkpoint to packed, verified inference.

``mbert.convert`` exports a checkpoint to a bundle; ``mbert.load`` runs one.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from .errors import (
    BackendError,
    BundleError,
    CheckpointError,
    ExportError,
    InputError,
    MbertError,
)

if TYPE_CHECKING:
    from .export import convert
    from .runtime import Model, load

__version__ = version("mbert")

__all__ = [
    "BackendError",
    "BundleError",
    "CheckpointError",
    "ExportError",
    "InputError",
    "MbertError",
    "Model",
    "__version__",
    "convert",
    "load",
]


def __getattr__(name: str) -> Any:
    # Lazily, so that a serving machine never imports torch and `import mbert` stays instant.
    if name == "convert":
        from .export import convert

        return convert
    if name in ("load", "Model"):
        from . import runtime

        return getattr(runtime, name)
    raise AttributeError(f"module 'mbert' has no attribute {name!r}")
