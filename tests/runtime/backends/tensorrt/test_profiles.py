"""Optimisation profiles, buckets, and the choice among them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbert.runtime.backends.tensorrt.profiles import (
    bucket_count,
    bucket_length,
    profiles_for,
    round_up,
    shape_at,
)
from mbert.runtime.manifest import Limits, Profile, TensorSpec, symbols_of

PACKED = {"tokens", "sequences"}
PADDED = {"tokens", "groups", "length", "masks"}


def limits(max_tokens: int = 8192, max_sequence_length: int = 8192) -> Limits:
    return Limits(max_tokens, max_sequence_length, max_sequences=2048)


def test_a_packed_signature_has_one_profile_for_latency_and_one_for_throughput() -> None:
    latency, throughput = profiles_for(PACKED, limits(), 64)
    assert latency == Profile("latency", {"tokens": (64, 128, 512), "sequences": (1, 1, 8)})
    assert throughput.ranges["tokens"] == (64, 8192, 8192)
    assert throughput.ranges["sequences"] == (1, 1, 2048)


def test_a_padded_signature_has_one_for_each_class_of_lengths() -> None:
    profiles = profiles_for(PADDED, limits(), 64)
    assert [p.name for p in profiles] == [
        "latency", "length-128", "length-512", "length-2048", "length-8192",
    ]  # fmt: skip
    for profile in profiles:
        rows = profile.ranges["groups"][2] * profile.ranges["length"][2]
        assert rows <= max(4 * 8192, 8 * 512)
        assert set(profile.ranges) == PADDED


@given(
    max_tokens=st.integers(1, 40000),
    longest=st.integers(1, 9000),
    multiple=st.sampled_from([1, 64, 128, 384]),
    symbols=st.sampled_from([PACKED, PADDED]),
)
def test_ranges_are_ranges_and_hold_the_limits(
    max_tokens: int, longest: int, multiple: int, symbols: set[str]
) -> None:
    longest = min(longest, max_tokens)
    profiles = profiles_for(symbols, limits(max_tokens, longest), multiple)
    for profile in profiles:
        for symbol, (least, best, most) in profile.ranges.items():
            assert 1 <= least <= best <= most
            if symbol in ("tokens", "length"):
                assert most % multiple == 0
    # One sequence of the largest size has a profile.
    assert profiles[-1].ranges["tokens"][2] == round_up(max_tokens, multiple)
    if symbols is PADDED:
        assert profiles[-1].ranges["length"][2] == round_up(longest, multiple)


@given(size=st.integers(1, 100_000), multiple=st.sampled_from([1, 64, 384]))
def test_a_bucket_holds_its_size_and_adds_little(size: int, multiple: int) -> None:
    rounded = bucket_length(size, multiple)
    assert size <= rounded
    assert rounded % multiple == 0
    assert rounded < 1.25 * size + multiple
    assert bucket_length(rounded, multiple) == rounded
    assert size <= bucket_count(size) < 2 * size


def test_buckets_are_few() -> None:
    assert len({bucket_length(size, 64) for size in range(1, 8193)}) == 24
    assert [bucket_length(n, 1) for n in (1, 7, 8, 9, 11, 17, 1000)] == [1, 7, 8, 10, 12, 20, 1024]
    assert [bucket_count(n) for n in (1, 3, 4, 5, 8, 9, 1000)] == [1, 3, 4, 8, 8, 16, 1024]


def test_shapes_and_symbols_of_a_signature() -> None:
    specs = (
        TensorSpec("cu_seqlens", "int32", ("sequences + 1",)),
        TensorSpec("key_mask", "bool", ("groups", 1, 1, "length")),
    )
    assert symbols_of(specs) == {"sequences", "groups", "length"}
    sizes = {"sequences": 3, "groups": 4, "length": 64}
    assert [shape_at(spec, sizes) for spec in specs] == [(4,), (4, 1, 1, 64)]


@pytest.mark.parametrize("longest", [1, 63, 64, 65, 1000])
def test_short_models_have_profiles_too(longest: int) -> None:
    profiles = profiles_for(PADDED, limits(8192, longest), 64)
    assert profiles[-1].ranges["length"][2] == round_up(longest, 64)
