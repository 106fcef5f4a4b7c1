"""Packed batches become calls and come back in order: against a model that knows its sequences."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mbert.errors import InputError
from mbert.runtime.backends.tensorrt.calls import Call, compute, plan
from mbert.runtime.backends.tensorrt.profiles import profiles_for, shape_at
from mbert.runtime.feeds import counted_tokens
from mbert.runtime.manifest import Engine, Limits, TensorSpec, symbols_of

PACKED = (
    TensorSpec("input_ids", "int32", ("tokens",)),
    TensorSpec("cu_seqlens", "int32", ("sequences + 1",)),
    TensorSpec("mask_positions", "int32", ("masks",)),
)
PADDED = (
    TensorSpec("input_ids", "int32", ("tokens",)),
    TensorSpec("cu_seqlens", "int32", ("sequences + 1",)),
    TensorSpec("mask_positions", "int32", ("masks",)),
    TensorSpec("positions", "int32", ("tokens",)),
    TensorSpec("pad_index", "int32", ("groups", "length")),
    TensorSpec("unpad_index", "int32", ("tokens",)),
    TensorSpec("key_mask", "bool", ("groups", 1, 1, "length")),
)
SIGNATURES = {"packed": PACKED, "padded": PADDED}
ROWS = ("tokens", "sequences", "masks")


def engine(inputs: tuple[TensorSpec, ...], max_tokens: int = 512, longest: int = 512) -> Engine:
    limits = Limits(max_tokens, longest, max_sequences=64)
    return Engine(None, "8.9", None, profiles_for(symbols_of(inputs), limits, 64), (), 64)


def batch(lengths: list[int], masks: list[int] | None = None, slack: int = 0) -> dict[str, Any]:
    offsets = np.cumsum([0, *lengths]).astype(np.int32)
    ids = np.random.default_rng(0).integers(1, 1000, offsets[-1] + slack).astype(np.int32)
    return {
        "input_ids": ids,
        "cu_seqlens": offsets,
        "mask_positions": np.array(masks or [], np.int32),
    }


def expected(data: dict[str, Any], rows: str) -> NDArray[np.int64]:
    """Of every token: its id plus the sum of its sequence; of a sequence: the sum."""
    ids, offsets = data["input_ids"].astype(np.int64), data["cu_seqlens"]
    sums = np.array([ids[a:b].sum() for a, b in itertools.pairwise(offsets)])
    tokens = np.zeros(ids.size, np.int64)
    real = offsets[-1]
    tokens[:real] = ids[:real] + np.repeat(sums, np.diff(offsets))
    return {"tokens": tokens, "sequences": sums, "masks": tokens[data["mask_positions"]]}[rows]


def output(rows: str) -> TensorSpec:
    return TensorSpec(rows, "float16", (rows,))


def model(call: Call, rows: str) -> NDArray[np.int64]:
    """What an engine with such inputs would compute, from the inputs that it gets."""
    feeds = call.feeds
    ids = feeds["input_ids"].astype(np.int64)
    if "pad_index" in feeds:
        groups = np.where(feeds["key_mask"][:, 0, 0], ids[feeds["pad_index"]], 0)
        attended = np.broadcast_to(groups.sum(1, keepdims=True), groups.shape).ravel()
        tokens = ids + attended[feeds["unpad_index"]]
    else:
        offsets = feeds["cu_seqlens"]
        sums = np.add.reduceat(np.append(ids, 0), offsets[:-1]) * (np.diff(offsets) > 0)
        which = np.searchsorted(offsets[1:], np.arange(ids.size), side="right")
        tokens = ids + np.append(sums, 0)[np.minimum(which, sums.size)]
    if rows == "sequences":
        cu = feeds["cu_seqlens"]
        return np.array([ids[a:b].sum() for a, b in itertools.pairwise(cu)])
    return tokens[feeds["mask_positions"]] if rows == "masks" else tokens


@pytest.mark.parametrize("kind", SIGNATURES)
@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 300), min_size=1, max_size=90),
    slack=st.integers(0, 50),
    rows=st.lists(st.sampled_from(ROWS), min_size=1, max_size=3),
    limits=st.sampled_from([(512, 512), (1024, 1024), (1024, 300), (8192, 300), (300, 300)]),
    data=st.data(),
)
def test_what_goes_in_comes_back_in_order(
    kind: str,
    lengths: list[int],
    slack: int,
    rows: list[str],
    limits: tuple[int, int],
    data: st.DataObject,
) -> None:
    inputs = SIGNATURES[kind]
    total = sum(lengths)
    masks = data.draw(st.lists(st.integers(0, total - 1), max_size=400)) if total else []
    packed = batch(lengths, masks, slack)
    made = engine(inputs, *limits)

    def run(call: Call) -> list[NDArray[np.int64]]:
        profile = made.profiles[call.profile].ranges
        for spec in inputs:
            assert call.feeds[spec.name].shape == shape_at(spec, call.sizes)
            assert str(call.feeds[spec.name].dtype) == spec.dtype
        for symbol, (least, _, most) in profile.items():
            assert least <= call.sizes[symbol] <= most
        assert call.sizes["tokens"] % 64 == 0
        return [model(call, one) for one in rows]

    found = compute(packed, made, inputs, [output(one) for one in rows], run)
    for one, values in zip(rows, found, strict=True):
        assert np.array_equal(values, expected(packed, one))


COUNTED = (
    TensorSpec("counted_rows", "int32", ("tokens",)),
    TensorSpec("counted_offsets", "int32", ("sequences + 1",)),
)


@pytest.mark.parametrize("kind", SIGNATURES)
def test_rows_that_count_go_with_their_sequences(kind: str) -> None:
    """Of each sequence the sum of the ids that count; the sequences take several calls."""
    inputs = (*SIGNATURES[kind], *COUNTED)
    lengths, skipped = [300, 40, 0, 7, 300, 100], np.array([5, 40, 0, 9, 0, 99], np.int32)
    packed = batch(lengths, slack=3)
    ids, offsets = packed["input_ids"], packed["cu_seqlens"]
    packed |= counted_tokens(offsets, ids.size, skipped)
    calls = []

    def run(call: Call) -> list[NDArray[np.int64]]:
        calls.append(call)
        feeds = call.feeds
        for spec in COUNTED:
            assert feeds[spec.name].shape == shape_at(spec, call.sizes)
        counted = feeds["input_ids"][feeds["counted_rows"]].astype(np.int64)
        pairs = itertools.pairwise(feeds["counted_offsets"])
        return [np.array([counted[a:b].sum() for a, b in pairs])]

    (found,) = compute(packed, engine(inputs), inputs, [output("sequences")], run)
    parts = zip(itertools.pairwise(offsets), skipped, strict=True)
    assert found.tolist() == [ids[min(a + skip, b) : b].sum() for (a, b), skip in parts]
    assert len(calls) > 1


def test_positions_are_offsets_and_slack_is_a_sequence_of_its_own() -> None:
    (call,) = plan(batch([3, 0, 2]), engine(PADDED), PADDED, ["tokens"])
    positions = call.feeds["positions"]
    assert positions[:5].tolist() == [0, 1, 2, 0, 1]
    assert positions[5:].tolist() == list(range(59))
    # A group without tokens has one key: a softmax over nothing would be NaN.
    assert call.feeds["key_mask"].sum(axis=(1, 2, 3)).tolist() == [3, 1, 2]


def test_many_masks_take_several_calls() -> None:
    masks = list(range(400))
    calls = list(plan(batch([500], masks), engine(PACKED), PACKED, ["masks"]))
    rows = [call.rows_of(output("masks")) for call in calls]
    assert [part.size for part in rows] == [128, 128, 128, 16]
    assert np.concatenate(rows).tolist() == masks


def test_masks_are_cut_by_the_profile_that_the_sequences_take() -> None:
    """Eight sequences fit into no other profile than the one for latency, which has fewer masks."""
    made = engine(PADDED, max_tokens=1024, longest=1024)
    packed = batch([300] + [20] * 7, list(range(200)))
    calls = list(plan(packed, made, PADDED, ["masks"]))
    assert [call.rows_of(output("masks")).size for call in calls] == [128, 72]


def test_sequences_without_masks_are_not_run() -> None:
    packed = batch([500, 500, 500], [700])
    (call,) = plan(packed, engine(PACKED), PACKED, ["masks"])
    assert call.rows_of(output("masks")).tolist() == [0]
    assert np.array_equal(call.feeds["input_ids"][:500], packed["input_ids"][500:1000])


def test_masks_that_a_signature_does_not_have_make_no_calls() -> None:
    packed = batch([500], list(range(400)))
    assert len(list(plan(packed, engine(PACKED[:2]), PACKED[:2], ["tokens"]))) == 1


def test_slack_rows_are_zeros() -> None:
    packed = batch([3], slack=4)
    (found,) = compute(
        packed, engine(PACKED), PACKED, [output("tokens")], lambda call: [model(call, "tokens")]
    )
    assert found.dtype == np.float32
    assert found[:3].all()
    assert not found[3:].any()


def test_a_sequence_that_no_profile_takes_is_refused() -> None:
    made = engine(PADDED, max_tokens=512, longest=100)
    with pytest.raises(InputError, match=r"Sequence 1 has 200 tokens.*--max-sequence-length"):
        list(plan(batch([50, 200]), made, PADDED, ["tokens"]))


def test_a_batch_of_nothing_gives_nothing() -> None:
    def never(call: Call) -> list[NDArray[np.int64]]:
        raise AssertionError("called")

    packed = batch([], slack=2)
    outputs = [output("tokens"), output("sequences")]
    tokens, sequences = compute(packed, engine(PACKED), PACKED, outputs, never)
    assert tokens.tolist() == [0, 0]
    assert sequences.shape == (0,)
