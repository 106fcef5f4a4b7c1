"""Texts longer than the model takes: windows of their tokens, and one vector from those of all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mbert.errors import InputError

from .inputs import check_count
from .packing import Int32Array

OVERFLOWS = ("error", "truncate", "chunk")
# Of a window's own tokens, the part that it shares with the one before unless the caller says.
_SHARED = 8


@dataclass(frozen=True)
class Windows:
    """The windows of several texts, one after the other; most texts have one.

    Attributes:
        ids: int32 [tokens] for each window, special tokens included.
        texts: int [windows], which text each one is of; non-decreasing, none is left out.
        new_tokens: int [windows], the tokens of the text that no window before it has.
    """

    ids: list[Int32Array]
    texts: NDArray[np.int64]
    new_tokens: NDArray[np.int64]

    @classmethod
    def of(cls, texts: Iterable[list[tuple[Int32Array, int]]]) -> Windows:
        """Line up the windows of each text, given with the number of their new tokens."""
        windows = [(i, ids, new) for i, parts in enumerate(texts) for ids, new in parts]
        return cls(
            [ids for _, ids, _ in windows],
            np.array([i for i, _, _ in windows], np.int64),
            np.array([new for _, _, new in windows], np.int64),
        )

    def merged(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """[windows, dim] -> [texts, dim]: means, weighted by the windows' new tokens.

        The vector of a text of one window is that window's.
        """
        first = np.flatnonzero(np.diff(self.texts, prepend=-1))
        if first.size == self.texts.size:
            return vectors
        weights = self.new_tokens[:, None].astype(np.float64)
        sums = np.add.reduceat(vectors * weights, first, axis=0)
        means = (sums / np.maximum(np.add.reduceat(weights, first), 1)).astype(np.float32)
        alone = np.diff(first, append=self.texts.size) == 1
        means[alone] = vectors[first[alone]]
        return means


def settle_overflow(overflow: str, truncate: bool, stride: int | None) -> str:
    """What to do with a text that is too long; ``truncate`` is short for "truncate".

    Raises:
        InputError: an unknown word, or two that contradict each other; a stride that is negative,
            or without windows that could share tokens.
    """
    if overflow not in OVERFLOWS:
        raise InputError(f"overflow is {overflow!r}; expected one of {', '.join(OVERFLOWS)}.")
    if truncate and overflow == "chunk":
        raise InputError("truncate=True cuts long texts, overflow='chunk' keeps them. Choose one.")
    if stride is not None:
        check_count("stride", stride, least=0)
        if overflow != "chunk":
            raise InputError(
                f"stride is {stride} with overflow={overflow!r}, which cuts no windows. Pass "
                "overflow='chunk', or no stride."
            )
    return "truncate" if truncate else overflow


def cut(
    ids: Int32Array, own: NDArray[np.bool_], longest: int, stride: int | None, what: str
) -> list[tuple[Int32Array, int]]:
    """Cut a text's tokens into windows of at most ``longest``, with what is not its own on each.

    A window begins where the one before it ends, less ``stride`` tokens. The last one ends with the
    text and is shorter where that comes out so.

    Args:
        ids: int32 [tokens], special tokens and a prompt's included.
        own: bool [tokens], which of them are the text's own, neighbours.
        longest: tokens of a window, the same included.
        stride: own tokens that neighbours share; None: an eighth of a window's.
        what: the text's name in messages.

    Returns:
        The windows, each with the number of own tokens that no window before it has.

    Raises:
        InputError: what every window repeats, or a stride, leaves nothing new to a window.
    """
    if ids.size <= longest:
        return [(ids, int(own.sum()))]
    places = np.flatnonzero(own)
    room = longest - (ids.size - places.size)
    if room < 1:
        raise InputError(
            f"{what} has {ids.size - places.size} tokens that every window repeats, special ones "
            f"and a prompt's; the bundle takes up to {longest}. Pass a shorter prompt."
        )
    shared = room // _SHARED if stride is None else stride
    if shared >= room:
        raise InputError(
            f"stride is {shared}; expected 0 to {room - 1}, less than the {room} tokens of a text "
            "that a window holds beside the special tokens."
        )
    begin, end = int(places[0]), int(places[-1]) + 1
    windows = []
    for start, stop in spans(begin, end, room, shared):
        new = stop - start - (shared if start > begin else 0)
        windows.append((np.concatenate((ids[:begin], ids[start:stop], ids[end:])), new))
    return windows


def spans(begin: int, end: int, room: int, shared: int) -> Iterator[tuple[int, int]]:
    """Cut ``[begin, end)`` into parts of at most ``room``; neighbours share ``shared``, fewer."""
    for start in range(begin, max(end - shared, begin + 1), room - shared):
        yield start, min(start + room, end)
