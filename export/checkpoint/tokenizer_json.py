"""Read ``tokenizer.json``."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer

from mbert.errors import CheckpointError


def read_tokenizer(path: Path) -> Tokenizer:
    """Read a tokenizer.json.

    Raises:
        CheckpointError: the file is not a tokenizer.
    """
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the binding raises plain Exception
        raise CheckpointError(f"{path} is not a tokenizer: {error}.") from error
