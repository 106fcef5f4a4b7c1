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
    from .loading import load
    from .runtime import (
        Classifier,
        Embedder,
        MaskFiller,
        Model,
        MultiVectorEmbedder,
        QuestionAnswerer,
        Reranker,
        SparseEmbedder,
        TokenClassifier,
    )

__version__ = version("mbert")

__all__ = [
    "BackendError",
    "BundleError",
    "CheckpointError",
    "Classifier",
    "Embedder",
    "ExportError",
    "InputError",
    "MaskFiller",
    "MbertError",
    "Model",
    "MultiVectorEmbedder",
    "QuestionAnswerer",
    "Reranker",
    "SparseEmbedder",
    "TokenClassifier",
    "__version__",
    "convert",
    "load",
]


# Where the rest lives: imported on first use, so that a serving machine never imports torch and
# `import mbert` stays instant.
_LAZY = {
    "convert": "mbert.export",
    "load": "mbert.loading",
    **dict.fromkeys(
        (
            "Classifier",
            "Embedder",
            "MaskFiller",
            "Model",
            "MultiVectorEmbedder",
            "QuestionAnswerer",
            "Reranker",
            "SparseEmbedder",
            "TokenClassifier",
        ),
        "mbert.runtime",
    ),
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'mbert' has no attribute {name!r}")
    module = _LAZY[name]
    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        part = "export" if module == "mbert.export" else "runtime"
        raise BackendError(_missing(str(error.name), part)) from error


def _missing(module: str, part: str) -> str:
    """Say how to install a module that cannot be imported."""
    if module.startswith("mbert"):
        return (
            f"{module} is missing: Python found mbert's source tree, not the installed package. "
            "Run Python from another folder, or install with `pip install .`."
        )
    extra = "" if part == "runtime" else f"[{part}]"
    return f"The Python module {module!r} is missing. Install it with `pip install 'mbert{extra}'`."
