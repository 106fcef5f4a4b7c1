"""The workloads: lengths, ids and batches, equal on every machine."""

from __future__ import annotations

import numpy as np
import pytest

from mbert.bench.workloads import (
    WORKLOADS,
    batches,
    choose,
    ordinary_ids,
    padded_tokens,
)
from mbert.errors import InputError

BASE_VOCABULARY = 50368
ORDINARY = ordinary_ids(BASE_VOCABULARY, [50280, 50281, 50282, 50283, 50284])


@pytest.mark.parametrize(
    ("name", "lengths"),
    [
        ("W1-16", [16]),
        ("W1-128", [128]),
        ("W3", [512] * 8),
        ("W4-2048", [2048]),
        ("W4-8192", [8192]),
        ("W6-0", [100] * 32),
    ],
)
def test_fixed_lengths(name: str, lengths: list[int]) -> None:
    assert WORKLOADS[name].lengths == lengths


@pytest.mark.parametrize(
    ("name", "count", "least", "most", "tokens"),
    [
        # The sums show whether numpy still draws the same numbers.
        ("W2", 32, 8, 512, 3430),
        ("W2s", 32, 8, 512, 3430),
        ("W6-40", 32, 8, 512, None),
        ("W6-120", 32, 8, 512, None),
        ("W5-256", 256, 16, 512, None),
        ("W5-4096", 16, 16, 8192, None),
    ],
)
def test_drawn_lengths(name: str, count: int, least: int, most: int, tokens: int | None) -> None:
    lengths = WORKLOADS[name].lengths
    assert len(lengths) == count
    assert least <= min(lengths) < max(lengths) <= most
    assert tokens is None or sum(lengths) == tokens


def test_w2_is_the_lognormal_of_its_definition() -> None:
    drawn = np.random.default_rng(0).lognormal(np.log(100), 0.8, 32)
    assert WORKLOADS["W2"].lengths == [int(x) for x in np.minimum(np.maximum(drawn, 8), 512)]


def test_the_spreads_differ_as_their_names_say() -> None:
    spreads = [np.std(WORKLOADS[name].lengths) for name in ("W6-0", "W6-40", "W2", "W6-120")]
    assert spreads == sorted(spreads)
    assert len(set(spreads)) == 4


@pytest.mark.parametrize("workload", WORKLOADS.values(), ids=lambda workload: workload.name)
def test_sequences_have_the_lengths_and_ordinary_ids(workload) -> None:
    sequences = workload.sequences(ORDINARY)
    assert [len(ids) for ids in sequences] == workload.lengths
    everything = np.concatenate(sequences)
    assert everything.dtype == np.int32
    assert everything.min() >= 5
    assert everything.max() < 50_000
    again = workload.sequences(ORDINARY)
    assert all(np.array_equal(a, b) for a, b in zip(sequences, again, strict=True))


def test_w2_and_w2s_are_the_same_sequences() -> None:
    plain, sorted_ = (WORKLOADS[name].sequences(ORDINARY) for name in ("W2", "W2s"))
    assert all(np.array_equal(a, b) for a, b in zip(plain, sorted_, strict=True))


def test_fill_mask_has_one_mask_in_each_sequence() -> None:
    for ids in WORKLOADS["W2"].sequences(ORDINARY, mask=50284):
        assert np.flatnonzero(ids == 50284).tolist() == [len(ids) // 2]


def test_ordinary_ids() -> None:
    assert ORDINARY[[0, -1]].tolist() == [5, 49_999]
    assert ORDINARY.size == 50_000 - 5
    assert ordinary_ids(12, [3, 7, 11]).tolist() == [5, 6, 8, 9, 10]
    with pytest.raises(InputError, match="vocabulary has 6 tokens"):
        ordinary_ids(6, [5])


def test_choose() -> None:
    assert [w.name for w in choose("W2, W1-16")] == ["W1-16", "W2"]
    assert [w.name for w in choose("all")] == list(WORKLOADS)
    default = [w.name for w in choose(None)]
    assert default == ["W1-16", "W1-128", "W2", "W2s", "W3", "W4-2048"]


@pytest.mark.parametrize("names", ["W9", "W2,w3", "", ","])
def test_choose_refuses(names: str) -> None:
    with pytest.raises(InputError, match="No such workload") as error:
        choose(names)
    assert "W4-2048" in str(error.value)


def test_batches_and_padding() -> None:
    lengths = [3, 9, 1, 5, 7]
    assert batches(lengths, None, False) == [[0, 1, 2, 3, 4]]
    assert batches(lengths, 2, False) == [[0, 1], [2, 3], [4]]
    assert batches(lengths, 2, True) == [[1, 4], [3, 0], [2]]
    assert padded_tokens(lengths, [[0, 1, 2, 3, 4]]) == 45
    assert padded_tokens(lengths, [[1, 4], [3, 0], [2]]) == 18 + 10 + 1
    # Without padding only real tokens are computed.
    assert padded_tokens(lengths, [[i] for i in range(5)]) == sum(lengths)


def test_sorting_is_the_only_difference_of_w2s() -> None:
    w2, w2s = WORKLOADS["W2"], WORKLOADS["W2s"]
    assert (w2.peer_batch, w2.peer_sorted) == (None, False)
    assert (w2s.peer_batch, w2s.peer_sorted) == (8, True)
    whole = padded_tokens(w2.lengths, batches(w2.lengths, None, False))
    assert whole == 32 * max(w2.lengths)
    assert sum(w2.lengths) < padded_tokens(w2.lengths, batches(w2.lengths, 8, True)) < whole
