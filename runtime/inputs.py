"""Check what callers pass in, before any of it reaches a kernel."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mbert.errors import InputError

from .feeds import COUNTED_INPUTS
from .manifest import Limits, TensorSpec
from .packing import Int32Array

_Item = TypeVar("_Item")


def as_sequence(values: Iterable[_Item], what: str) -> Sequence[_Item]:
    """Return ``values``, or a list of them if they can be iterated only once.

    Raises:
        InputError: a mapping or a set, which have no order, or no iterable at all.
    """
    if isinstance(values, Sequence) and not isinstance(values, str | bytes):
        return values
    if isinstance(values, Mapping | Set | str | bytes) or not isinstance(values, Iterable):
        raise InputError(f"{what} is a {type(values).__name__}; expected a list.")
    return list(values)


def check_top_k(top_k: int | None, *, optional: bool = True) -> None:
    """Check ``top_k``: a positive integer, or None (all) if ``optional``."""
    if not (optional and top_k is None):
        check_count("top_k", top_k, ", or None" * optional)


def check_count(name: str, value: object, more: str = "", *, least: int = 1) -> None:
    """Raise unless ``value`` is an integer >= ``least``. ``more`` is appended to the message."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or value < least:  # type: ignore[operator]
        kind = "" if whole else "an integer of "
        raise InputError(f"{name} is {value!r}; expected {kind}at least {least}{more}.")


def check_choice(name: str, value: object, known: Collection[str]) -> str:
    """Return ``value`` if it is one of ``known``.

    Raises:
        InputError: any other value.
    """
    if not isinstance(value, str) or value not in known:
        raise InputError(f"{name} is {value!r}; expected one of {', '.join(known)}.")
    return value


def check_sequences(
    sequences: Iterable[ArrayLike], vocab_size: int, limits: Limits
) -> list[Int32Array]:
    """Turn id sequences into int32 arrays.

    Raises:
        InputError: a sequence that is empty, too long, or not a flat list of ids in
            ``[0, vocab_size)``; the message names it by its number.
    """
    if isinstance(sequences, str | bytes):
        raise InputError(
            "Expected a list of token id sequences, found a string. tokenize() makes token ids."
        )
    checked = []
    for i, sequence in enumerate(sequences):
        ids = _integers(sequence, f"Sequence {i}")
        if ids.size == 0:
            raise InputError(f"Sequence {i} is empty; every sequence needs at least one token.")
        check_length(ids.size, limits.max_sequence_length, f"Sequence {i}")
        check_ids(ids, vocab_size, f"Sequence {i}")
        checked.append(ids.astype(np.int32, copy=False))
    return checked


def check_length(length: int, longest: int, what: str) -> None:
    """Raise if a sequence has more than ``longest`` tokens."""
    if length > longest:
        raise InputError(
            f"{what} has {length} tokens; the limit is {longest}. Split it, or pass "
            "overflow='truncate' (or 'window' where the task has windows)."
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
            "cu_seqlens must hold cumulative lengths that start at 0, one entry more than "
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
    check_ids(ids, vocab_size, "input_ids")
    return ids.astype(np.int32, copy=False), offsets.astype(np.int32, copy=False)


def check_packed_input(
    spec: TensorSpec, value: ArrayLike, tokens: int, sequences: int, longest: int
) -> Int32Array:
    """Turn an optional packed input into int32 and check its shape and its values.

    Args:
        spec: the graph's input.
        value: what the caller passed for it.
        tokens: number of packed tokens.
        sequences: number of packed sequences.
        longest: the most tokens of a sequence.

    Raises:
        InputError: another shape, or a value that points outside of the packed arrays.
    """
    array = _array(value, spec.name)
    flat = _integers(array.reshape(-1), spec.name)
    columns = spec.shape[1:]
    sizes = {"tokens": tokens, "sequences + 1": sequences + 1}
    rows = sizes.get(str(spec.shape[0]), array.shape[0] if array.ndim else -1)
    if array.shape != (rows, *columns):
        raise InputError(
            f"{spec.name} has the shape {list(array.shape)}; expected {list(spec.shape)} with "
            f"{tokens} tokens and {sequences} sequences."
        )
    # Each column points to a row, a sequence or a position within one.
    ends = {
        "counted_offsets": (tokens + 1,),
        "expansions": (sequences, longest),
        "seen": (tokens, sequences, longest),
    }.get(spec.name, (tokens,))
    for column, end in zip(flat.reshape(-1, len(ends)).T, ends, strict=True):
        if column.size and (column.min() < 0 or column.max() >= end):
            raise InputError(
                f"{spec.name} has values from {column.min()} to {column.max()}; expected 0 to "
                f"{end - 1}."
            )
    if spec.name == "counted_offsets" and (flat[0] != 0 or (np.diff(flat) < 0).any()):
        raise InputError(
            f"{spec.name} is {_shown(flat)}; expected cumulative numbers that start at 0."
        )
    return flat.reshape(array.shape).astype(np.int32)


def check_counted(feeds: Mapping[str, Int32Array]) -> None:
    """Check that the rows that pooling counts belong to their sequences.

    Args:
        feeds: ``cu_seqlens``, and perhaps ``counted_rows`` and ``counted_offsets``.

    Raises:
        InputError: only one of the two is there, or a row lies outside of its sequence.
    """
    given = [name for name in COUNTED_INPUTS if name in feeds]
    if not given:
        return
    if len(given) == 1:
        raise InputError(f"{given[0]} is given alone; expected {' and '.join(COUNTED_INPUTS)}.")
    offsets, cu_seqlens = feeds["counted_offsets"], feeds["cu_seqlens"]
    sequence = np.repeat(np.arange(offsets.size - 1), np.diff(offsets))
    rows = feeds["counted_rows"][: offsets[-1]]
    outside = np.flatnonzero((rows < cu_seqlens[sequence]) | (rows >= cu_seqlens[sequence + 1]))
    if outside.size:
        i = outside[0]
        raise InputError(
            f"counted_rows[{i}] is {rows[i]}, which is not a row of its sequence {sequence[i]}: "
            f"expected {cu_seqlens[sequence[i]]} to {cu_seqlens[sequence[i] + 1] - 1}."
        )


def check_floats(value: ArrayLike, what: str) -> NDArray[np.float32]:
    """Turn numbers into float32.

    Raises:
        InputError: not numbers, or some that are not finite.
    """
    try:
        array = np.asarray(value, np.float32)
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(f"{what} is not an array of numbers: {error}.") from error
    if not np.isfinite(array).all():
        raise InputError(f"{what} has a value that is not finite; expected finite numbers.")
    return array


def _array(value: ArrayLike, what: str) -> NDArray[Any]:
    try:
        return np.asarray(value)
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(f"{what} is not an array of integers: {error}.") from error


def _integers(value: ArrayLike, what: str) -> NDArray[np.int64]:
    array = _array(value, what)
    if array.ndim == 1 and array.size == 0:
        return array.astype(np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise InputError(
            f"{what} is {array.dtype} of shape {list(array.shape)}; expected a flat list of "
            "integers."
        )
    if array.dtype == np.uint64 and array.max() > np.iinfo(np.int64).max:
        raise InputError(f"{what} has {array.max()}, beyond any token id or offset.")
    return array.astype(np.int64, copy=False)  # signed: a difference of unsigned offsets wraps


def check_ids(ids: NDArray[Any], vocab_size: int, what: str) -> None:
    """Raise unless every id is in ``[0, vocab_size)``."""
    if ids.size and (ids.min() < 0 or ids.max() >= vocab_size):
        wrong = int(np.flatnonzero((ids < 0) | (ids >= vocab_size))[0])
        raise InputError(
            f"{what} has token id {ids[wrong]} at position {wrong}; the vocabulary is 0 to "
            f"{vocab_size - 1}. Was it tokenized with another model's tokenizer?"
        )


def _shown(values: NDArray[np.int64]) -> str:
    return f"[{', '.join(str(v) for v in values[:8])}{', ...' if len(values) > 8 else ''}]"
