"""Texts to token ids with the checkpoint's tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer as HuggingFaceTokenizer

from mbert.errors import BundleError, InputError

from .inputs import check_ids, check_length
from .manifest import Limits
from .packing import Int32Array
from .windows import Window, cut

Text = str | tuple[str, str]

# Kept at most: one for each length that callers truncate to.
_TRUNCATING_TOKENIZERS = 16


@dataclass(frozen=True)
class TokenizedText:
    """A text's tokens and their offsets.

    Attributes:
        text: the text.
        ids: int32 [tokens].
        offsets: int [tokens, 2], start and end of each token, in characters of the text.
        added: bool [tokens], special tokens that the tokenizer put around the text, not those
            written in it.
        continues: bool [tokens], tokens that continue the word of the previous token.
    """

    text: str
    ids: Int32Array
    offsets: NDArray[np.int64]
    added: NDArray[np.bool_]
    continues: NDArray[np.bool_]


@dataclass(frozen=True)
class TokenizedPair:
    """The tokens of a question with its context, and their offsets.

    Attributes:
        context: the context.
        ids: int32 [tokens], special tokens included.
        context_tokens: the tokens of the context.
        offsets: int [tokens, 2], start and end of each token, in characters of its own text.
        words: int [tokens], index of each token's word in its text; -1 without one.
    """

    context: str
    ids: Int32Array
    context_tokens: slice
    offsets: NDArray[np.int64]
    words: NDArray[np.int64]


class Tokenizer:
    """``tokenizer.json`` of the checkpoint; truncation and padding are the caller's.

    Every id that it returns is within the model's vocabulary.
    """

    def __init__(self, path: Path, limits: Limits, vocab_size: int) -> None:
        """Read ``path``.

        Raises:
            BundleError: the ``tokenizers`` library cannot read it.
        """
        self._longest = limits.max_sequence_length
        self._vocab_size = vocab_size
        self._whole = _read(path)
        self._side = (self._whole.truncation or {}).get("direction", "right")
        # Saved settings would truncate or pad silently.
        self._whole.no_truncation()
        self._whole.no_padding()
        self._truncating: dict[tuple[int, str], HuggingFaceTokenizer] = {}

    def ids(self, texts: Sequence[Text]) -> list[Int32Array]:
        """Tokenize texts or pairs of any length, special tokens included.

        Raises:
            InputError: a value that is not a text, or an id outside the vocabulary.
        """
        found = [np.asarray(encoding.ids, np.int32) for encoding in self._encodings(texts, None)]
        for i, ids in enumerate(found):
            check_ids(ids, self._vocab_size, f"Text {i}")
        return found

    def encode(
        self,
        texts: Sequence[Text],
        overflow: str = "error",
        *,
        first: int = 0,
        longest: int | None = None,
        added: int = 0,
        strategy: str = "longest_first",
        group: int = 1,
    ) -> list[Int32Array]:
        """Tokenize texts or pairs of texts, special tokens included.

        Args:
            texts: texts or pairs.
            overflow: "error" or "truncate".
            first: index of the first text in messages.
            longest: the most tokens; None: the bundle's limit.
            added: tokens that the caller adds to each text afterwards.
            strategy: what to truncate of a pair: "longest_first" or "only_first".
            group: number of consecutive inputs that messages count as one text.

        Raises:
            InputError: a value that is not a text, an id outside the vocabulary, or a text that is
                too long with overflow "error" or that ``strategy`` cannot make short enough.
        """
        longest = self._longest if longest is None else longest
        limit = longest - added if overflow == "truncate" else None
        encodings = self._encodings(texts, limit, first, strategy, group)
        ids = []
        for i, encoding in enumerate(encodings):
            number = first + i // group
            check_length(len(encoding) + added, longest, f"Text {number}")
            ids.append(self._ids(encoding, number))
        return ids

    def windows(
        self, texts: Sequence[Text], stride: int | None, *, first: int = 0, prompt: int = 0
    ) -> list[list[Window]]:
        """Tokenize texts, and cut those that are too long into windows.

        Args:
            texts: texts, or pairs that fit.
            stride: see :func:`mbert.runtime.windows.cut`.
            first: index of the first text in messages.
            prompt: characters at the start of each text that every window repeats.

        Raises:
            InputError: a value that is not a text, an id outside the vocabulary, a pair that is too
                long, or a stride that is too large.
        """
        encodings = self._encodings(texts, None, first)
        windows = []
        for i, (text, encoding) in enumerate(zip(texts, encodings, strict=True), first):
            if isinstance(text, tuple) and len(encoding) > self._longest:
                raise InputError(
                    f"Text {i} has {len(encoding)} tokens; the limit is {self._longest}, and "
                    "pairs have no windows. Shorten its texts, or pass overflow='truncate'."
                )
            ids = self._ids(encoding, i)
            own = _own(encoding, prompt)
            windows.append(cut(ids, own, self._longest, stride, f"Text {i}"))
        return windows

    def encode_with_offsets(
        self, texts: Sequence[str], overflow: str = "error", *, unknown: int = -1, first: int = 0
    ) -> list[TokenizedText]:
        """Tokenize texts and locate each token.

        Word boundaries follow the transformers pipeline: with a tokenizer that marks continuing
        tokens ("##"), a token longer or shorter than its text continues a word; with any other, a
        token that neither starts with a space nor follows one.

        Args:
            texts: single texts.
            overflow: "error", "truncate", or "window": any length is returned whole.
            unknown: id of the unknown token, which never continues a word; -1 without one.
            first: index of the first text in messages.

        Raises:
            InputError: a value that is not a text, a pair, an id outside the vocabulary, or a text
                that is too long with overflow "error".
        """
        for i, text in enumerate(texts, first):
            if not isinstance(text, str):
                raise InputError(
                    f"Text {i} is a {type(text).__name__}; expected a string. Offsets are those "
                    "of single texts, not of pairs."
                )
        encodings = self._encodings(texts, self._longest if overflow == "truncate" else None, first)
        if overflow != "window":
            for i, encoding in enumerate(encodings, first):
                check_length(len(encoding), self._longest, f"Text {i}")
        return [
            self._tokenized(text, encoding, unknown, i)
            for i, (text, encoding) in enumerate(zip(texts, encodings, strict=True), first)
        ]

    def encode_pairs(
        self, pairs: Sequence[tuple[str, str]], *, longest: int | None = None, first: int = 0
    ) -> list[TokenizedPair]:
        """Tokenize questions with their contexts, special tokens included.

        Words are the tokenizer's pre-tokens.

        Args:
            pairs: question and context.
            longest: truncate the context to this many tokens of both; None: any length.
            first: index of the first pair in messages.

        Raises:
            InputError: a value that is not a pair of texts, an id outside the vocabulary, or a
                question that is longer than ``longest``.
        """
        encodings = self._encodings(pairs, longest, first, "only_second")
        return [
            _tokenized_pair(pair[1], encoding, self._ids(encoding, i))
            for i, (pair, encoding) in enumerate(zip(pairs, encodings, strict=True), first)
        ]

    def prompt_length(self, prompt: str) -> int:
        """Count the tokens at the start of a text that are the prompt's.

        As sentence-transformers counts them: the tokens of the prompt alone, without the special
        token that the tokenizer puts at the end.
        """
        (encoding,) = self._encodings([prompt], self._longest)
        mask = encoding.special_tokens_mask
        return len(mask) - (1 if len(mask) > 1 and mask[-1] else 0)

    def token(self, token_id: int) -> str:
        """Decode one token to text."""
        return str(self._whole.decode([token_id], skip_special_tokens=False))

    def spelling(self, token_id: int) -> str:
        """Return a token as the vocabulary spells it; "" for an id that it lacks."""
        return str(self._whole.id_to_token(token_id) or "")

    def _encodings(
        self,
        texts: Sequence[Text],
        limit: int | None,
        first: int = 0,
        strategy: str = "longest_first",
        group: int = 1,
    ) -> list[Any]:
        for i, text in enumerate(texts):
            number = first + i // group
            if not _is_text(text):
                raise InputError(
                    f"Text {number} is a {type(text).__name__}; expected a string or a pair of "
                    "strings."
                )
            _check_unicode(text, number)
        tokenizer = self._whole if limit is None else self._truncating_to(limit, strategy)
        try:
            encodings: list[Any] = tokenizer.encode_batch(list(texts))
        except Exception as error:  # the binding raises plain Exception
            if limit is None:
                raise
            raise InputError(
                f"A pair cannot be truncated to {limit} tokens ({error}): the text that is kept "
                "whole takes them all. Shorten the question or the hypothesis."
            ) from error
        return encodings

    def _truncating_to(self, longest: int, strategy: str) -> HuggingFaceTokenizer:
        # One for each length, since threads share them.
        key = (longest, strategy)
        if key not in self._truncating:
            if len(self._truncating) >= _TRUNCATING_TOKENIZERS:
                self._truncating.clear()
            tokenizer = HuggingFaceTokenizer.from_str(self._whole.to_str())
            tokenizer.enable_truncation(longest, strategy=strategy, direction=self._side)
            self._truncating[key] = tokenizer
        return self._truncating[key]

    def _ids(self, encoding: Any, i: int) -> Int32Array:
        ids = np.asarray(encoding.ids, np.int32)
        if ids.size == 0:
            raise InputError(f"Text {i} has no tokens; expected at least one.")
        check_ids(ids, self._vocab_size, f"Text {i}")
        return ids

    def _tokenized(self, text: str, encoding: Any, unknown: int, i: int) -> TokenizedText:
        ids = self._ids(encoding, i)
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


def _tokenized_pair(context: str, encoding: Any, ids: Int32Array) -> TokenizedPair:
    of_context = np.flatnonzero([sequence == 1 for sequence in encoding.sequence_ids])
    begin = int(of_context[0]) if of_context.size else len(encoding)
    words = [-1 if word is None else word for word in encoding.word_ids]
    return TokenizedPair(
        context=context,
        ids=ids,
        context_tokens=slice(begin, begin + of_context.size),
        offsets=np.asarray(encoding.offsets, np.int64).reshape(-1, 2),
        words=np.asarray(words, np.int64),
    )


def _own(encoding: Any, prompt: int) -> NDArray[np.bool_]:
    """Mark the tokens that are neither added special ones nor the prompt's: bool [tokens]."""
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
