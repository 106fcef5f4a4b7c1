"""Files of caches: written whole or not at all, read where they are there."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path


def replace_file(path: Path, data: bytes | memoryview) -> None:
    """Write ``data`` to ``path``; readers see the old file, or none, until it is complete.

    Raises:
        OSError: it cannot be written; nothing is left.
    """
    # Not tempfile: its files are for the owner only, whatever the umask says.
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
    """The contents of ``path``; nothing where there is no such file, or it cannot be read."""
    try:
        return path.read_bytes() if path is not None else b""
    except OSError:
        return b""
