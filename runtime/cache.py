"""The user's cache folder: stamps of checked bundles, engines, exports; and its files."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path


def cache_folder() -> Path | None:
    """Return ``$MBERT_CACHE``, else ``$XDG_CACHE_HOME/mbert``, else ``~/.cache/mbert``.

    None for a user without a home: nothing is cached then.
    """
    if explicit := os.environ.get("MBERT_CACHE"):
        return Path(explicit)
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "mbert"
    except RuntimeError:
        return None


def replace_file(path: Path, data: bytes | memoryview) -> None:
    """Write ``data`` to ``path``. Readers see the old file, or none, until it is complete.

    Raises:
        OSError: it cannot be written; no part of it is left.
    """
    # Not tempfile, whose files only the owner can read.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # a rename must not outlive the contents
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def read_or_empty(path: Path | None) -> bytes:
    """Return the contents of ``path``, or b"" if it cannot be read."""
    try:
        return path.read_bytes() if path is not None else b""
    except OSError:
        return b""
