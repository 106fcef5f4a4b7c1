"""Read a checkpoint's ``config.json``."""

from __future__ import annotations

import json
from pathlib import Path

from mbert.errors import CheckpointError
from mbert.model.families.modernbert_config import ModelConfig


def read_config(folder: Path) -> ModelConfig:
    """Read ``config.json`` in ``folder``.

    Raises:
        CheckpointError: the file is missing, not JSON, or not a supported ModernBERT encoder.
    """
    path = folder / "config.json"
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{folder} is not a checkpoint: it has no config.json. Pass the folder that holds "
            "config.json and model.safetensors, or a Hugging Face hub id."
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read as JSON: {error}.") from error
    if not isinstance(raw, dict):
        raise CheckpointError(f"{path} holds a JSON {type(raw).__name__}, expected an object.")
    return ModelConfig.from_dict(raw)
