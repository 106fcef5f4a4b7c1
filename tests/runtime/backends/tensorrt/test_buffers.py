"""The layout of tensors in buffers, conversion to float32, and the LRU cache."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbert.runtime.backends.dtypes import as_float32
from mbert.runtime.backends.tensorrt.buffers import capacity, lay_out, span
from mbert.runtime.backends.tensorrt.session import LRUCache
from mbert.runtime.manifest import Profile, TensorSpec

SPECS = (
    TensorSpec("ids", "int32", ("tokens",)),
    TensorSpec("mask", "bool", ("groups", 1, 1, "length")),
    TensorSpec("offsets", "int32", ("groups + 1",)),
)
DTYPES = {"ids": np.dtype(np.int32), "mask": np.dtype(bool), "offsets": np.dtype(np.int32)}
SIZES = st.fixed_dictionaries({s: st.integers(1, 300) for s in ("tokens", "groups", "length")})


@given(SIZES)
def test_tensors_lie_apart_and_aligned(sizes: dict[str, int]) -> None:
    slots = lay_out(SPECS, DTYPES, sizes)
    assert list(slots) == ["ids", "mask", "offsets"]
    assert slots["mask"].shape == (sizes["groups"], 1, 1, sizes["length"])
    assert slots["offsets"].shape == (sizes["groups"] + 1,)
    buffer = np.zeros(span(slots), np.uint8)
    for number, slot in enumerate(slots.values(), 1):
        assert slot.offset % 256 == 0
        view = slot.of(buffer)
        assert view.dtype == slot.dtype
        assert not view.any()  # nobody else has written here
        view[...] = number
    assert slots["ids"].of(buffer).tolist() == [1] * sizes["tokens"]


@given(SIZES, SIZES)
def test_a_buffer_holds_every_call_of_every_profile(
    first: dict[str, int], second: dict[str, int]
) -> None:
    profiles = [
        Profile(name, {symbol: (1, 1, size) for symbol, size in sizes.items()})
        for name, sizes in (("a", first), ("b", second))
    ]
    size = capacity(SPECS, DTYPES, profiles)
    needed = [span(lay_out(SPECS, DTYPES, sizes)) for sizes in (first, second)]
    assert size == max(needed)


def test_no_tensors_need_no_bytes() -> None:
    assert span({}) == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_floats_become_float32(dtype: type[np.generic]) -> None:
    values = np.array([1.5, -0.0, 65504, np.inf, -np.inf, np.nan], dtype)
    found = as_float32(values)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, values.astype(np.float32))


def test_bits_of_bfloat16_become_float32() -> None:
    bits = np.array([0x0000, 0x8000, 0x3F80, 0xC020, 0x7F80, 0xFF80, 0x7FC0, 0x0001, 0x7F7F])
    found = as_float32(bits.astype(np.uint16))
    wanted = [0, -0.0, 1, -2.5, np.inf, -np.inf, np.nan, 2.0**-133, (2 - 2.0**-7) * 2.0**127]
    np.testing.assert_array_equal(found, np.array(wanted, np.float32))
    assert np.signbit(found[1])


# ---- execution contexts by size


def test_the_least_recently_used_goes_first() -> None:
    dropped: list[str] = []
    cache: LRUCache[int, str] = LRUCache(2, dropped.append)
    assert cache.get(1, lambda: "one") == "one"
    assert cache.get(2, lambda: "two") == "two"
    assert cache.get(1, lambda: "made again") == "one"
    assert cache.get(3, lambda: "three") == "three"
    assert dropped == ["two"]
    assert len(cache) == 2
    cache.clear()
    assert sorted(dropped) == ["one", "three", "two"]
    assert len(cache) == 0
    assert cache.get(1, lambda: "made again") == "made again"


def test_what_cannot_be_made_is_not_kept() -> None:
    cache: LRUCache[int, float] = LRUCache(2, lambda value: None)
    with pytest.raises(ZeroDivisionError):
        cache.get(1, lambda: 1 / 0)
    assert len(cache) == 0
    assert cache.get(1, lambda: 2.0) == 2.0
