"""Read the JSON files of a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mbert.errors import CheckpointError


def read_json(path: Path, kind: type = dict) -> Any:
    """Read ``path``, which holds a ``kind``; return an empty one if there is no such file.

    Raises:
        CheckpointError: the file cannot be read, or holds another type.
    """
    try:
        contents = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return kind()
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read as JSON: {error}.") from error
    if not isinstance(contents, kind):
        raise CheckpointError(
            f"{path} holds a JSON {type(contents).__name__}; expected a {kind.__name__}."
        )
    return contents
