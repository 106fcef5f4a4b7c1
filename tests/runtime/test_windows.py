"""Windows of long texts, and the options that ask for them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbert.errors import InputError
from mbert.runtime.windows import OVERFLOWS, cut, resolve_overflow, spans


@given(
    length=st.integers(0, 60),
    longest=st.integers(4, 30),
    stride=st.integers(0, 40),
    special=st.tuples(st.integers(0, 2), st.integers(0, 1)),
)
def test_windows_hold_every_token_in_order(
    length: int, longest: int, stride: int, special: tuple[int, int]
) -> None:
    before, after = special
    ids = np.arange(before + length + after, dtype=np.int32)
    own = np.zeros(ids.size, bool)
    own[before : before + length] = True
    room = longest - before - after
    if ids.size > longest and stride >= room:
        with pytest.raises(InputError, match="stride"):
            cut(ids, own, longest, stride, "Text 0")
        return
    windows = cut(ids, own, longest, stride, "Text 0")
    collected: list[int] = []
    for window, new in windows:
        assert window.size <= longest
        assert window[:before].tolist() == ids[:before].tolist()
        assert window[window.size - after :].tolist() == ids[ids.size - after :].tolist()
        inside = window[before : window.size - after].tolist()
        # What is not new is the end of what came before.
        shared = len(inside) - new
        assert inside[:shared] == collected[len(collected) - shared :]
        assert shared == (stride if collected else 0)
        collected += inside[shared:]
    assert collected == ids[own].tolist()
    assert all(new > 0 for _, new in windows) or length == 0


@given(
    begin=st.integers(0, 5),
    length=st.integers(0, 60),
    room=st.integers(1, 20),
    shared=st.integers(0, 19),
)
def test_spans_cover_the_range(begin: int, length: int, room: int, shared: int) -> None:
    shared = min(shared, room - 1)
    end = begin + length
    found = list(spans(begin, end, room, shared))
    assert found[0][0] == begin
    assert found[-1][1] == end
    assert all(stop - start <= room for start, stop in found)
    for (_, before), (start, stop) in pairwise(found):
        assert before - start == shared
        assert stop > before


@pytest.mark.parametrize("overflow", [None, *OVERFLOWS])
def test_the_caller_comes_before_the_default(overflow: str | None) -> None:
    for default in OVERFLOWS:
        assert resolve_overflow(overflow, None, default) == (overflow or default)


def test_a_stride_needs_windows() -> None:
    assert resolve_overflow("window", 0, "error") == "window"
    assert resolve_overflow(None, 3, "window") == "window"
    for overflow, default in (("error", "window"), ("truncate", "window"), (None, "error")):
        with pytest.raises(InputError, match=r"stride.*3.*window"):
            resolve_overflow(overflow, 3, default)


@pytest.mark.parametrize(
    ("overflow", "stride", "known", "message"),
    [
        ("split", None, OVERFLOWS, "overflow.*split.*error, truncate, window"),
        (3, None, OVERFLOWS, "overflow.*3"),
        ("window", None, ("error", "truncate"), "overflow.*window.*error, truncate"),
        ("window", -1, OVERFLOWS, "stride.*-1"),
        ("window", 2.5, OVERFLOWS, "stride.*2.5.*integer"),
        ("window", True, OVERFLOWS, "stride.*True"),
    ],
)
def test_unknown_overflows_and_strides_are_refused(
    overflow: Any, stride: Any, known: tuple[str, ...], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        resolve_overflow(overflow, stride, "error", known)
