"""Sentence-transformers folders: their modules.json, written by hand or by the library itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

LIBRARY = "sentence_transformers.models."


def write_modules(folder: Path, *kinds: str, **settings: dict[str, Any]) -> Path:
    """Write modules.json, and for each kind the settings of its name; "a.b.C" is a class elsewhere.

    The transformer lies in the folder itself, every other module in one of its own.
    """
    entries = []
    for i, kind in enumerate(kinds):
        is_first = kind == "Transformer"
        path = "" if is_first else f"{i}_{kind.rpartition('.')[2]}"
        name = "sentence_bert_config.json" if is_first else "config.json"
        (folder / path).mkdir(parents=True, exist_ok=True)
        if kind in settings:
            (folder / path / name).write_text(json.dumps(settings[kind]))
        name = kind if "." in kind else LIBRARY + kind
        entries.append({"idx": i, "name": str(i), "path": path, "type": name})
    (folder / "modules.json").write_text(json.dumps(entries))
    return folder
