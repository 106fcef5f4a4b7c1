"""Packing: nothing is lost, nothing is added, and no batch is too large."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mbert.runtime.packing import pack

lengths_of = st.lists(st.integers(0, 40), max_size=60)


def sequences_of(lengths: list[int]) -> list[np.ndarray]:
    """Sequences of these lengths; no id occurs twice, so that a mix-up shows."""
    ids = np.arange(sum(lengths), dtype=np.int32)
    return np.split(ids, np.cumsum(lengths)[:-1]) if lengths else []


@given(lengths=lengths_of, budget=st.integers(1, 100), most=st.integers(1, 20))
@example(lengths=[], budget=1, most=1)
@example(lengths=[0, 0, 0], budget=1, most=2)
@example(lengths=[40], budget=1, most=1)
def test_every_sequence_is_packed_once_and_whole(
    lengths: list[int], budget: int, most: int
) -> None:
    sequences = sequences_of(lengths)
    batches = pack(sequences, budget, most)
    packed = [i for batch in batches for i in batch.indices]
    assert sorted(packed) == list(range(len(sequences)))
    for batch in batches:
        bounds = pairwise(batch.cu_seqlens)
        for i, (begin, end) in zip(batch.indices, bounds, strict=True):
            np.testing.assert_array_equal(batch.input_ids[begin:end], sequences[i])


@given(lengths=lengths_of, budget=st.integers(1, 100), most=st.integers(1, 20))
def test_the_offsets_are_those_of_the_lengths(lengths: list[int], budget: int, most: int) -> None:
    for batch in pack(sequences_of(lengths), budget, most):
        expected = np.cumsum([0, *(lengths[i] for i in batch.indices)])
        np.testing.assert_array_equal(batch.cu_seqlens, expected)
        assert batch.cu_seqlens[-1] == batch.input_ids.size
        assert batch.cu_seqlens.dtype == batch.input_ids.dtype == np.int32
        assert batch.indices


@given(lengths=lengths_of, budget=st.integers(1, 100), most=st.integers(1, 20))
def test_only_a_sequence_alone_exceeds_the_budget(
    lengths: list[int], budget: int, most: int
) -> None:
    for batch in pack(sequences_of(lengths), budget, most):
        assert batch.input_ids.size <= budget or len(batch.indices) == 1
        assert len(batch.indices) <= most


@given(lengths=lengths_of, budget=st.integers(1, 100), most=st.integers(1, 20))
def test_the_longest_come_first_and_equals_in_order(
    lengths: list[int], budget: int, most: int
) -> None:
    packed = [i for batch in pack(sequences_of(lengths), budget, most) for i in batch.indices]
    assert packed == sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))


@given(lengths=lengths_of, budget=st.integers(1, 100))
def test_no_two_neighbouring_batches_would_fit_into_one(lengths: list[int], budget: int) -> None:
    batches = pack(sequences_of(lengths), budget, max(1, len(lengths)))
    for first, second in pairwise(batches):
        assert first.input_ids.size + lengths[second.indices[0]] > budget


@pytest.mark.parametrize("count", [0, 1, 7])
def test_what_fits_into_one_batch_is_one_batch(count: int) -> None:
    assert len(list(pack(sequences_of([5] * count), 5 * count, 7))) == min(count, 1)
