"""Read the model card of a checkpoint."""

from __future__ import annotations

import re
from pathlib import Path


def license_of(folder: Path) -> str | None:
    """Return the licence in the front matter of the model card; None if it names none."""
    try:
        card = (folder / "README.md").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    front_matter = re.match(r"---\r?\n(.*?)\n---", card, re.DOTALL)
    found = front_matter and re.search(
        r"^license:[ \t]*[\"']?([\w.-]*\w)", front_matter[1], re.MULTILINE
    )
    return found[1] if found else None
