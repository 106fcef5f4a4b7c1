"""mbert: from a ModernBERT checkpoint to packed, verified inference.

``mbert.convert`` exports a checkpoint to a bundle; ``mbert.load`` runs one.
"""

from __future__ import annotations

from importlib import import_module
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


# Where the rest of the face lives: imported when it is asked for, so that a serving machine never
# imports torch and `import mbert` stays instant.
_LAZY = {"convert": "mbert.export", "load": "mbert.runtime", "Model": "mbert.runtime"}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'mbert' has no attribute {name!r}")
    try:
        return getattr(import_module(_LAZY[name]), name)
    except ModuleNotFoundError as error:
        raise BackendError(_missing(str(error.name), _LAZY[name].rpartition(".")[2])) from error


def _missing(module: str, part: str) -> str:
    """Say what to do about a module that cannot be imported."""
    if module.startswith("mbert"):
        return (
            f"{module} is not there: Python found mbert's source tree, not the installed package. "
            "Run it from another folder, or install with `pip install .`."
        )
    extra = "" if part == "runtime" else f"[{part}]"
    return f"The Python module {module!r} is missing. Install it with `pip install 'mbert{extra}'`."
