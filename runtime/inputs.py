"""Checking what callers pass in, before any of it reaches a kernel."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mbert.errors import InputError

from .manifest import Limits
from .packing import Int32Array

_Item = TypeVar("_Item")


def as_sequence(values: Iterable[_Item], what: str) -> Sequence[_Item]:
    """The values themselves, or a list of an iterator's: tasks go through them more than once.

    Raises:
        InputError: nothing that gives values.
    """
    if isinstance(values, Sequence):
        return values
    try:
        source = iter(values)
    except TypeError:
        raise InputError(f"{what} is a {type(values).__name__}; expected a list.") from None
    return list(source)


def check_top_k(top_k: int | None, *, optional: bool = True) -> None:
    """Refuse a number of results that is none; None, all of them, is one where ``optional``."""
    if not (optional and top_k is None):
        check_count("top_k", top_k, ", or None" * optional)


def check_count(name: str, value: object, more: str = "", *, least: int = 1) -> None:
    """Refuse what is no integer from ``least`` on; ``more``: what else the caller expects."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or value < least:  # type: ignore[operator]
        kind = "" if whole else "an integer of "
        raise InputError(f"{name} is {value!r}; expected {kind}at least {least}{more}.")


def check_sequences(
    sequences: Iterable[ArrayLike], vocab_size: int, limits: Limits
) -> list[Int32Array]:
    """Turn id sequences into int32 arrays.

    Raises:
        InputError: a sequence that is empty, too long, or not a flat list of ids in
            ``[0, vocab_size)``; the message names it by its number.
    """
    if isinstance(sequences, str | bytes):
        raise InputError("Expected a list of token id sequences, found a string; see embed().")
    checked = []
    for i, sequence in enumerate(sequences):
        ids = _integers(sequence, f"Sequence {i}")
        if ids.size == 0:
            raise InputError(f"Sequence {i} is empty; every sequence needs at least one token.")
        check_length(ids.size, limits.max_sequence_length, f"Sequence {i}")
        _check_ids(ids, vocab_size, f"Sequence {i}")
        checked.append(ids.astype(np.int32, copy=False))
    return checked


def check_length(length: int, longest: int, what: str) -> None:
    """Refuse more than ``longest`` tokens."""
    if length > longest:
        raise InputError(
            f"{what} has {length} tokens; the bundle takes up to {longest}. "
            "Split it, or pass truncate=True where a method offers it."
        )


def check_packed(
    input_ids: ArrayLike, cu_seqlens: ArrayLike, vocab_size: int, limits: Limits
) -> tuple[Int32Array, Int32Array]:
    """Turn packed arrays into int32 and check the contract of the graph's inputs.

    Raises:
        InputError: ids out of range, offsets that do not start at 0, decrease or exceed the
            tokens, or more tokens or sequences than the bundle takes.
    """
    ids = _integers(input_ids, "input_ids")
    offsets = _integers(cu_seqlens, "cu_seqlens")
    if ids.size > limits.max_tokens:
        raise InputError(
            f"input_ids has {ids.size} tokens; the bundle takes up to {limits.max_tokens} in one "
            "call. Use run(), which splits into batches."
        )
    if offsets.size == 0 or offsets[0] != 0:
        raise InputError(
            "cu_seqlens must hold the cumulative lengths from 0 on, one more entry than there are "
            f"sequences; found {_shown(offsets)}."
        )
    if offsets.size - 1 > limits.max_sequences:
        raise InputError(
            f"cu_seqlens has {offsets.size - 1} sequences; the bundle takes up to "
            f"{limits.max_sequences} in one call."
        )
    lengths = np.diff(offsets)
    if lengths.size and lengths.min() < 0:
        i = int(lengths.argmin())
        raise InputError(
            f"cu_seqlens decreases from {offsets[i]} to {offsets[i + 1]} at entry {i + 1}; "
            "expected cumulative lengths."
        )
    if offsets[-1] > ids.size:
        raise InputError(f"cu_seqlens ends at {offsets[-1]}, input_ids has {ids.size} tokens.")
    if lengths.size:
        i = int(lengths.argmax())
        check_length(int(lengths[i]), limits.max_sequence_length, f"Sequence {i}")
    _check_ids(ids, vocab_size, "input_ids")
    return ids.astype(np.int32, copy=False), offsets.astype(np.int32, copy=False)


def check_rows(positions: ArrayLike, tokens: int) -> Int32Array:
    """Turn ``mask_positions`` into int32 and check that each names one of the packed tokens."""
    rows = _integers(positions, "mask_positions")
    if rows.size and (rows.min() < 0 or rows.max() >= tokens):
        raise InputError(
            f"mask_positions spans {rows.min()} to {rows.max()}; expected rows of the {tokens} "
            "packed tokens."
        )
    return rows.astype(np.int32, copy=False)


def check_floats(value: ArrayLike, what: str) -> NDArray[np.float32]:
    """Turn numbers into float32.

    Raises:
        InputError: not numbers, or some that are not finite.
    """
    try:
        array = np.asarray(value, np.float32)
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(f"{what}: no array of numbers ({error}).") from error
    if not np.isfinite(array).all():
        raise InputError(f"{what}: some of the numbers are not finite.")
    return array


def _integers(value: ArrayLike, what: str) -> NDArray[np.int64]:
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(f"{what} is no flat list of integers: {error}.") from error
    if array.ndim == 1 and array.size == 0:
        return array.astype(np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise InputError(
            f"{what} is {array.dtype} of shape {list(array.shape)}; expected a flat list of "
            "integers."
        )
    if array.dtype == np.uint64 and array.max() > np.iinfo(np.int64).max:
        raise InputError(f"{what} holds {array.max()}, which is no token id or offset.")
    return array.astype(np.int64, copy=False)  # signed: a difference of unsigned offsets wraps


def _check_ids(ids: NDArray[np.int64], vocab_size: int, what: str) -> None:
    if ids.size and (ids.min() < 0 or ids.max() >= vocab_size):
        wrong = int(np.flatnonzero((ids < 0) | (ids >= vocab_size))[0])
        raise InputError(
            f"{what} has token id {ids[wrong]} at position {wrong}; the vocabulary is 0 to "
            f"{vocab_size - 1}. Was it tokenized with another model's tokenizer?"
        )


def _shown(values: NDArray[np.int64]) -> str:
    return f"[{', '.join(str(v) for v in values[:8])}{', ...' if len(values) > 8 else ''}]"
