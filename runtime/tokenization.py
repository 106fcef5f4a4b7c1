"""Text to ids with the checkpoint's own tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer as HuggingFaceTokenizer

from mbert.errors import BundleError, InputError

from .inputs import check_length
from .manifest import Limits
from .packing import Int32Array
from .windows import Windows, cut

Text = str | tuple[str, str]


@dataclass(frozen=True)
class TokenizedText:
    """A text's tokens and where they lie in it.

    Attributes:
        text: the text.
        ids: int32 [tokens].
        offsets: int [tokens, 2], start and end of each token, in characters of the text.
        added: bool [tokens], tokens that the tokenizer put around the text. A special token that
            was written in the text is none of them.
        continues: bool [tokens], tokens that belong to the word of the token before.
    """

    text: str
    ids: Int32Array
    offsets: NDArray[np.int64]
    added: NDArray[np.bool_]
    continues: NDArray[np.bool_]


@dataclass(frozen=True)
class TokenizedPair:
    """A question's and a context's tokens, and where the context's lie in it.

    Attributes:
        context: the context.
        ids: int32 [tokens], special tokens included.
        context_tokens: which of them are the context's own.
        offsets: int [tokens, 2], start and end of each token, in characters of its own text.
        words: int [tokens], which word of its text each token belongs to; -1: none.
    """

    context: str
    ids: Int32Array
    context_tokens: slice
    offsets: NDArray[np.int64]
    words: NDArray[np.int64]


class Tokenizer:
    """``tokenizer.json`` with truncation and padding in the caller's hands."""

    def __init__(self, path: Path, limits: Limits) -> None:
        """Read ``path``.

        Raises:
            BundleError: it is not a tokenizer that the ``tokenizers`` library reads.
        """
        self._limits = limits
        self._whole = _read(path)
        self._side = (self._whole.truncation or {}).get("direction", "right")
        # Saved settings would cut or pad silently.
        self._whole.no_truncation()
        self._whole.no_padding()
        self._truncating: dict[int, HuggingFaceTokenizer] = {}

    def encode(
        self,
        texts: Sequence[Text],
        truncate: bool = False,
        *,
        first: int = 0,
        longest: int | None = None,
        added: int = 0,
    ) -> list[Int32Array]:
        """Tokenize texts or pairs of texts, special tokens included.

        Args:
            texts: what is to be tokenized.
            truncate: cut texts that are too long.
            first: the number that messages give to the first text.
            longest: the most tokens; None: as many as the bundle takes.
            added: how many of them the caller puts into each text afterwards.

        Raises:
            InputError: not text; or a text that is too long, unless ``truncate``.
        """
        longest = self._limits.max_sequence_length if longest is None else longest
        encodings = self._encodings(texts, longest - added if truncate else None, first)
        self._check_lengths(encodings, longest, first, added)
        return [np.asarray(encoding.ids, np.int32) for encoding in encodings]

    def windows(
        self, texts: Sequence[Text], stride: int | None, *, first: int = 0, prompt: int = 0
    ) -> Windows:
        """Tokenize texts, and cut those that are longer than the bundle takes.

        Args:
            texts: texts, or pairs that fit.
            stride: see :func:`mbert.runtime.windows.cut`.
            first: the number that messages give to the first text.
            prompt: how many characters at the beginning of each text are a prompt, which every
                window repeats.

        Raises:
            InputError: not text; a pair that is too long; a stride that is too long.
        """
        longest = self._limits.max_sequence_length
        encodings = self._encodings(texts, None, first)
        for i, (text, encoding) in enumerate(zip(texts, encodings, strict=True), first):
            if isinstance(text, tuple) and len(encoding) > longest:
                raise InputError(
                    f"Text {i} has {len(encoding)} tokens; the bundle takes up to {longest}, and a "
                    "pair is not cut into windows. Cut its texts, or pass overflow='truncate'."
                )
        return Windows.of(
            cut(
                np.asarray(encoding.ids, np.int32),
                _own(encoding, prompt),
                longest,
                stride,
                f"Text {i}",
            )
            for i, encoding in enumerate(encodings, first)
        )

    def tokenize(
        self,
        texts: Sequence[str],
        truncate: bool = False,
        *,
        unknown: int = -1,
        any_length: bool = False,
    ) -> list[TokenizedText]:
        """Tokenize texts and say where each token lies.

        Word boundaries are where the transformers pipeline sees them: with a tokenizer that marks
        continuing tokens ("##"), a token longer or shorter than its text continues a word; with any
        other, one that neither starts with a space nor follows one. ``unknown``, the id of the
        unknown token (-1: there is none), never continues a word.

        Raises:
            InputError: not text, a pair, or longer than the bundle takes, unless ``truncate`` or
                ``any_length``.
        """
        for i, text in enumerate(texts):
            if not isinstance(text, str):
                raise InputError(
                    f"Text {i} is a {type(text).__name__}; expected a string. Places in a text "
                    "are given for single texts, not for pairs."
                )
        longest = self._limits.max_sequence_length
        encodings = self._encodings(texts, longest if truncate else None)
        if not any_length:
            self._check_lengths(encodings, longest)
        return [self._tokenized(*both, unknown) for both in zip(texts, encodings, strict=True)]

    def tokenize_pairs(self, pairs: Sequence[tuple[str, str]]) -> list[TokenizedPair]:
        """Tokenize questions with their contexts, of any length, special tokens included.

        Words are those of the tokenizer's own ("pre-tokens").

        Raises:
            InputError: not text.
        """
        encodings = self._encodings(pairs, None)
        return [_tokenized_pair(*both) for both in zip(pairs, encodings, strict=True)]

    def token(self, token_id: int) -> str:
        """The text that a token stands for, as a reader would write it."""
        return str(self._whole.decode([token_id], skip_special_tokens=False))

    def spelling(self, token_id: int) -> str:
        """A token as the vocabulary spells it; empty for an id that the vocabulary lacks."""
        return str(self._whole.id_to_token(token_id) or "")

    def _encodings(self, texts: Sequence[Text], cut_to: int | None, first: int = 0) -> list[Any]:
        for i, text in enumerate(texts, first):
            if not _is_text(text):
                raise InputError(
                    f"Text {i} is a {type(text).__name__}; expected a string or a pair of strings."
                )
            _check_unicode(text, i)
        tokenizer = self._whole if cut_to is None else self._cutting_to(cut_to)
        encodings: list[Any] = tokenizer.encode_batch(list(texts))
        return encodings

    def _cutting_to(self, longest: int) -> HuggingFaceTokenizer:
        # One for each length, since they are shared between threads.
        if longest not in self._truncating:
            tokenizer = HuggingFaceTokenizer.from_str(self._whole.to_str())
            tokenizer.enable_truncation(longest, direction=self._side)
            self._truncating[longest] = tokenizer
        return self._truncating[longest]

    def _check_lengths(
        self, encodings: Sequence[Any], longest: int, first: int = 0, added: int = 0
    ) -> None:
        for i, encoding in enumerate(encodings, first):
            check_length(len(encoding) + added, longest, f"Text {i}")

    def _tokenized(self, text: str, encoding: Any, unknown: int) -> TokenizedText:
        ids = np.asarray(encoding.ids, np.int32)
        offsets: list[tuple[int, int]] = encoding.offsets
        if getattr(self._whole.model, "continuing_subword_prefix", None):
            # By id: a token's own text may have the space that an added token strips.
            names = (str(self._whole.id_to_token(token_id)) for token_id in encoding.ids)
            continues = [
                len(name) != end - start for name, (start, end) in zip(names, offsets, strict=True)
            ]
        else:
            continues = [
                start > 0 and " " not in text[start - 1 : start + 1] for start, _ in offsets
            ]
        return TokenizedText(
            text=text,
            ids=ids,
            offsets=np.asarray(offsets, np.int64).reshape(-1, 2),
            added=np.asarray(encoding.special_tokens_mask, bool),
            continues=np.asarray(continues, bool) & (ids != unknown),
        )


def _tokenized_pair(pair: tuple[str, str], encoding: Any) -> TokenizedPair:
    of_context = np.flatnonzero([sequence == 1 for sequence in encoding.sequence_ids])
    begin = int(of_context[0]) if of_context.size else len(encoding)
    words = [-1 if word is None else word for word in encoding.word_ids]
    return TokenizedPair(
        context=pair[1],
        ids=np.asarray(encoding.ids, np.int32),
        context_tokens=slice(begin, begin + of_context.size),
        offsets=np.asarray(encoding.offsets, np.int64).reshape(-1, 2),
        words=np.asarray(words, np.int64),
    )


def _own(encoding: Any, prompt: int) -> NDArray[np.bool_]:
    """Which tokens are neither special ones that were added nor of the prompt."""
    own: NDArray[np.bool_] = np.asarray(encoding.special_tokens_mask) == 0
    if not prompt:
        return own
    behind: NDArray[np.bool_] = np.array([end > prompt for _, end in encoding.offsets])
    return own & behind


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
