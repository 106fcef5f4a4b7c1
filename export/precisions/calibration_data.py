"""Calibration text, and hooks that measure a model while it runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch.utils.hooks import RemovableHandle

from mbert.errors import ExportError
from mbert.runtime.manifest import Limits
from mbert.runtime.tokenization import Tokenizer

# The longest sequence that is tried; the lengths of random ids, for a checkpoint without tokenizer.
_LONGEST = 1024
_RANDOM_LENGTHS = (8, 64, 256, _LONGEST)


@dataclass(frozen=True)
class Sample:
    """A text's name and its sequences of int32 ids, special tokens included."""

    name: str
    sequences: list[NDArray[np.int32]]

    @property
    def tokens(self) -> int:
        """Return the number of tokens of all sequences."""
        return sum(ids.size for ids in self.sequences)


def read_sample(
    tokenizer: Path | None, limits: Limits, vocab_size: int, text: Path | None
) -> Sample:
    """Tokenize the calibration text.

    Args:
        tokenizer: the checkpoint's ``tokenizer.json``; None: take random ids.
        limits: of the bundle; longer texts are cut.
        vocab_size: of the model.
        text: a UTF-8 file, one text a line; None: a built-in sample of languages, code and noise.

    Raises:
        ExportError: ``text`` cannot be read or is empty, or there is no tokenizer for it.
    """
    longest = min(_LONGEST, limits.max_sequence_length)
    if tokenizer is None:
        if text is not None:
            raise ExportError(
                f"{text} cannot be used for calibration: the checkpoint has no tokenizer.json."
            )
        generator = np.random.default_rng(0)
        lengths = [min(length, longest) for length in _RANDOM_LENGTHS]
        ids = [generator.integers(0, vocab_size, n, dtype=np.int32) for n in lengths]
        return Sample("random token ids", ids)
    lines = read_lines(text)
    encode = Tokenizer(tokenizer, limits, vocab_size).encode
    encoded = [ids[:longest] for ids in encode(lines, "truncate")]
    # The texts and one long concatenation: long contexts change activation ranges.
    joined = np.concatenate(encoded)[:longest]
    return Sample(text.name if text else "the built-in sample", [*encoded, joined])


def read_lines(text: Path | None) -> list[str]:
    """Read the texts of a file, one a line; None: the built-in sample.

    Raises:
        ExportError: the file cannot be read or is empty.
    """
    if text is None:
        contents = files(__package__).joinpath("calibration.txt").read_text(encoding="utf-8")
    else:
        try:
            contents = text.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ExportError(f"The calibration text {text} cannot be read: {error}.") from error
    lines = [line for line in contents.splitlines() if line.strip()]
    if not lines:
        raise ExportError(f"The calibration text {text} is empty. Give one text a line.")
    return lines


@contextmanager
def hooked(handles: Iterable[RemovableHandle]) -> Iterator[None]:
    """Remove PyTorch hooks at the end of a with statement."""
    placed = list(handles)
    try:
        yield
    finally:
        for handle in placed:
            handle.remove()
