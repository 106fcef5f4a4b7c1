"""The arrays that a graph takes, against definitions that look at one token at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mbert.runtime.feeds import complete, counted_tokens, feeds_of, unattended_tokens
from mbert.runtime.packing import PackedBatch, TokenSequence, pack

MASK = 3
# Length, and tokens at its end that no token attends to.
QUERIES = st.lists(
    st.integers(1, 9).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))),
    min_size=1,
    max_size=8,
)


def batch_of(lengths: list[int]) -> PackedBatch:
    """Return a batch in which no id occurs twice."""
    offsets = np.cumsum([0, *lengths]).astype(np.int32)
    ids = np.arange(offsets[-1], dtype=np.int32) + 100
    return PackedBatch(list(range(len(lengths))), ids, offsets)


@given(
    sequences=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 12)), max_size=8),
    slack=st.integers(0, 3),
)
def test_counted_tokens_leave_out_the_first_ones(
    sequences: list[tuple[int, int]], slack: int
) -> None:
    offsets = np.cumsum([0, *(length for length, _ in sequences)]).astype(np.int32)
    excluded = np.array([count for _, count in sequences], np.int32)
    found = counted_tokens(offsets, int(offsets[-1]) + slack, excluded)
    rows: list[int] = []
    ends = [0]
    for start, (length, count) in zip(offsets, sequences, strict=False):
        rows += range(start + min(count, length), start + length)
        ends.append(len(rows))
    assert found["counted_offsets"].tolist() == ends
    assert found["counted_rows"][: len(rows)].tolist() == rows
    assert not found["counted_rows"][len(rows) :].any()
    assert found["counted_rows"].size == offsets[-1] + slack
    assert {array.dtype for array in found.values()} == {np.dtype(np.int32)}


@given(queries=QUERIES)
def test_unattended_tokens_come_last(queries: list[tuple[int, int]]) -> None:
    batch = batch_of([length for length, _ in queries])
    unattended = np.array([count for _, count in queries], np.int32)
    order, feeds = unattended_tokens(batch, unattended)
    assert sorted(order) == list(range(batch.input_ids.size))
    np.testing.assert_array_equal(feeds["input_ids"], batch.input_ids[order])
    attended, moved, seen = [], [], []
    for i, (length, count) in enumerate(queries):
        for place in range(length):
            row = int(batch.cu_seqlens[i]) + place
            if place >= length - count:
                moved.append((row, i, place))
            else:
                if count:
                    seen.append((len(attended), i, place))
                attended.append(row)
    assert order.tolist() == attended + [row for row, _, _ in moved]
    lengths = [length - count for length, count in queries]
    assert feeds["cu_seqlens"].tolist() == np.cumsum([0, *lengths]).tolist()
    assert feeds["expansions"].tolist() == [[i, place] for _, i, place in moved]
    assert feeds["seen"].reshape(-1, 3).tolist() == [list(entry) for entry in seen]
    assert {array.dtype for array in feeds.values()} == {np.dtype(np.int32)}


def _feeds(sequences: list[TokenSequence], *inputs: str) -> tuple[dict[str, NDArray[Any]], Any]:
    (batch,) = pack([sequence.ids for sequence in sequences], 1000, 10)
    return feeds_of(batch, sequences, {"input_ids", "cu_seqlens", *inputs}, MASK)


def _sequence(*ids: int, **attributes: int) -> TokenSequence:
    return TokenSequence(np.array(ids, np.int32), **attributes)


def test_a_graph_gets_the_inputs_that_it_has() -> None:
    feeds, order = _feeds([_sequence(1, MASK), _sequence(7, 8, MASK)])
    assert order is None
    assert {name: array.tolist() for name, array in feeds.items()} == {
        "input_ids": [7, 8, MASK, 1, MASK],
        "cu_seqlens": [0, 3, 5],
    }
    feeds, _ = _feeds([_sequence(1, MASK), _sequence(7, 8, MASK)], "mask_positions")
    assert feeds["mask_positions"].tolist() == [2, 4]


def test_excluded_tokens_follow_their_sequence() -> None:
    sequences = [_sequence(1, 2, excluded=1), _sequence(7, 8, 9, excluded=2)]
    feeds, order = _feeds(sequences, "counted_rows", "counted_offsets")
    assert order is None
    assert feeds["counted_rows"].tolist() == [2, 4, 0, 0, 0]
    assert feeds["counted_offsets"].tolist() == [0, 1, 2]


def test_expansions_are_moved_only_where_there_are_some() -> None:
    plain = [_sequence(1, 2), _sequence(7, 8, 9)]
    feeds, order = _feeds(plain, "expansions", "seen")
    assert order is None
    assert (feeds["expansions"].shape, feeds["seen"].shape) == ((0, 2), (0, 3))
    feeds, order = _feeds([*plain, _sequence(4, 5, unattended=1)], "expansions", "seen")
    assert order is not None
    assert feeds["input_ids"].tolist()[-1] == 5
    assert feeds["expansions"].tolist() == [[2, 1]]


def test_what_is_given_is_kept() -> None:
    given_rows = np.array([0], np.int32)
    feeds = {
        "input_ids": np.array([MASK, MASK], np.int32),
        "cu_seqlens": np.array([0, 2], np.int32),
        "mask_positions": given_rows,
    }
    found = complete(feeds, {"mask_positions", "counted_rows", "expansions", "seen"}, MASK)
    assert found["mask_positions"] is given_rows
    assert found["counted_rows"].tolist() == [0, 1]
    assert found["counted_offsets"].tolist() == [0, 2]
    assert (found["expansions"].shape, found["seen"].shape) == ((0, 2), (0, 3))
