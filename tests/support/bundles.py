"""Damage to copies of bundles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def manifest_of(folder: Path) -> dict[str, Any]:
    """Return the manifest as JSON."""
    raw: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return raw


def rewrite(folder: Path, raw: object) -> None:
    """Replace the manifest."""
    (folder / "manifest.json").write_text(json.dumps(raw))


def flip(path: Path, at: int) -> None:
    """Change one bit of the byte at an offset; the size stays."""
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 1]))
