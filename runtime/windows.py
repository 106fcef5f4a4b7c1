"""Overlapping token windows of texts that are longer than the model takes."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mbert.errors import InputError

from .inputs import check_choice, check_count
from .packing import Int32Array

# What to do with a text that is too long.
OVERFLOWS = ("error", "truncate", "window")
# Default stride: this part of the text's tokens in a window.
_STRIDE_PART = 8


class Window(NamedTuple):
    """Part of a text: ids int32 [tokens], special tokens included.

    ``new_tokens`` counts the text's tokens that no earlier window has.
    """

    ids: Int32Array
    new_tokens: int


def resolve_overflow(
    overflow: str | None, stride: int | None, default: str, known: Collection[str] = OVERFLOWS
) -> str:
    """Return what to do with a text that is too long.

    Args:
        overflow: what the caller asked for; None: ``default``.
        stride: tokens that neighbouring windows share, which needs windows.
        default: the model's.
        known: what the task offers.

    Raises:
        InputError: an unknown word, a negative stride, or a stride without windows.
    """
    overflow = check_choice("overflow", default if overflow is None else overflow, known)
    if stride is not None:
        check_count("stride", stride, least=0)
        if overflow != "window":
            raise InputError(
                f"stride is {stride} with overflow={overflow!r}, which makes no windows. Pass "
                "overflow='window', or no stride."
            )
    return overflow


def cut(
    ids: Int32Array, own: NDArray[np.bool_], longest: int, stride: int | None, what: str
) -> list[Window]:
    """Cut a text's tokens into windows; each repeats the tokens that are not the text's own.

    A window starts ``stride`` tokens before the end of the previous one. The last window ends with
    the text and may be shorter.

    Args:
        ids: int32 [tokens], special tokens and a prompt's included.
        own: bool [tokens], True for the text's own tokens, which are contiguous.
        longest: tokens of a window, repeated ones included.
        stride: own tokens that neighbouring windows share; None: an eighth of a window's.
        what: name of the text in messages.

    Raises:
        InputError: the repeated tokens, or the stride, leave no room for new tokens.
    """
    if ids.size <= longest:
        return [Window(ids, int(own.sum()))]
    places = np.flatnonzero(own)
    repeated = ids.size - places.size
    room = longest - repeated
    if room < 1:
        raise InputError(
            f"{what} has {repeated} special and prompt tokens, which every window repeats; a "
            f"window has {longest}. Pass a shorter prompt."
        )
    shared = room // _STRIDE_PART if stride is None else stride
    if shared >= room:
        raise InputError(
            f"stride is {shared}; expected 0 to {room - 1}: a window holds {room} tokens of the "
            "text beside the special ones."
        )
    begin, end = int(places[0]), int(places[-1]) + 1
    windows = []
    for start, stop in spans(begin, end, room, shared):
        new = stop - start - (shared if start > begin else 0)
        windows.append(Window(np.concatenate((ids[:begin], ids[start:stop], ids[end:])), new))
    return windows


def spans(begin: int, end: int, room: int, shared: int) -> Iterator[tuple[int, int]]:
    """Cut ``[begin, end)`` into parts of at most ``room``; neighbours share ``shared``."""
    for start in range(begin, max(end - shared, begin + 1), room - shared):
        yield start, min(start + room, end)
