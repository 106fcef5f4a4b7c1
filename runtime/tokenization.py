"""Text to ids with the checkpoint's own tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer as HuggingFaceTokenizer

from mbert.errors import BundleError, InputError

from .inputs import check_length
from .manifest import Limits
from .packing import Int32Array

Text = str | tuple[str, str]


class Tokenizer:
    """``tokenizer.json`` with truncation and padding in the caller's hands."""

    def __init__(self, path: Path, limits: Limits) -> None:
        """Read ``path``.

        Raises:
            BundleError: it is not a tokenizer that the ``tokenizers`` library reads.
        """
        self._limits = limits
        self._whole = _read(path)
        # Saved settings would cut or pad silently.
        self._whole.no_truncation()
        self._truncating = _read(path)
        self._truncating.enable_truncation(limits.max_sequence_length)
        for tokenizer in (self._whole, self._truncating):
            tokenizer.no_padding()

    def encode(self, texts: Sequence[Text], truncate: bool = False) -> list[Int32Array]:
        """Tokenize texts or pairs of texts, special tokens included.

        Raises:
            InputError: not text; or a text longer than the bundle takes, unless ``truncate``.
        """
        for i, text in enumerate(texts):
            if not _is_text(text):
                raise InputError(
                    f"Text {i} is a {type(text).__name__}; expected a string or a pair of strings."
                )
            _check_unicode(text, i)
        tokenizer = self._truncating if truncate else self._whole
        encoded = [
            np.asarray(encoding.ids, np.int32) for encoding in tokenizer.encode_batch(list(texts))
        ]
        for i, ids in enumerate(encoded):
            check_length(len(ids), self._limits, f"Text {i}")
        return encoded

    def token(self, token_id: int) -> str:
        """The text that a token stands for, as a reader would write it."""
        return str(self._whole.decode([token_id], skip_special_tokens=False))


def _read(path: Path) -> HuggingFaceTokenizer:
    try:
        return HuggingFaceTokenizer.from_file(str(path))
    except Exception as error:  # the binding raises plain Exception
        raise BundleError(f"{path} is not a tokenizer: {error}") from error


def _check_unicode(text: Text, i: int) -> None:
    for part in (text,) if isinstance(text, str) else text:
        try:
            part.encode("utf-8")
        except UnicodeEncodeError as error:
            raise InputError(
                f"Text {i} is not valid Unicode: it has a lone surrogate at position "
                f"{error.start}. Decode its bytes as what they are before passing it on."
            ) from error


def _is_text(text: object) -> bool:
    if isinstance(text, tuple):
        return len(text) == 2 and all(isinstance(part, str) for part in text)
    return isinstance(text, str)
