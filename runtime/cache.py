"""The user's cache folder: stamps of checked bundles, and whatever a backend builds once."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path | None:
    """Return ``$MBERT_CACHE``, else ``$XDG_CACHE_HOME/mbert``, else ``~/.cache/mbert``.

    None for a user without a home: then nothing is remembered.
    """
    if explicit := os.environ.get("MBERT_CACHE"):
        return Path(explicit)
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "mbert"
    except RuntimeError:
        return None
