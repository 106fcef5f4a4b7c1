"""What callers may pass in, and how the rest is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mbert
from mbert.errors import InputError
from mbert.runtime.inputs import (
    check_length,
    check_packed,
    check_packed_input,
    check_sequences,
    check_top_k,
)
from mbert.runtime.manifest import Limits, TensorSpec

VOCAB = 100
LIMITS = Limits(max_tokens=64, max_sequence_length=16, max_sequences=4)

# What is no flat list of integers, and a part of the message.
NO_INTEGERS: list[Any] = [
    pytest.param([1.0, 2.0], "float64", id="floats"),
    pytest.param(np.ones(3, np.float32), "float32", id="float32"),
    pytest.param([[1, 2], [3, 4]], r"shape \[2, 2\]", id="two dimensions"),
    pytest.param([[1, 2], [3]], "array of integers", id="ragged"),
    pytest.param(5, r"shape \[\]", id="a number"),
    pytest.param("12", "U2", id="a string"),
    pytest.param(["1", "2"], "U1", id="strings"),
    pytest.param(b"12", "S2", id="bytes"),
    pytest.param([True, False], "bool", id="booleans"),
    pytest.param([1, None], "object", id="none"),
    pytest.param(None, "object", id="nothing"),
    pytest.param([2**64], "object", id="beyond 64 bits"),
    pytest.param([-(2**70), 1], "object", id="far below"),
    pytest.param([1 + 2j], "complex", id="complex"),
    pytest.param(np.array(["2020-01-01"], "datetime64[D]"), "datetime64", id="dates"),
]

# Integers that are no token ids, and where.
NO_IDS: list[Any] = [
    pytest.param([1, -1], "token id -1 at position 1", id="negative"),
    pytest.param([VOCAB], f"token id {VOCAB} at position 0; the vocabulary is 0 to 99", id="past"),
    pytest.param([1, 2, 2**31], f"token id {2**31} at position 2", id="int32 wraps"),
    pytest.param([1, 2**32], f"token id {2**32} at position 1", id="int32 wraps to 0"),
    pytest.param([2**63 - 1], f"token id {2**63 - 1} at position 0", id="largest int64"),
    pytest.param([2**63], f"{2**63}", id="uint64"),
    pytest.param(np.array([2**64 - 1], np.uint64), f"{2**64 - 1}", id="largest uint64"),
]


def packed(ids: Any, offsets: Any) -> tuple[np.ndarray, np.ndarray]:
    return check_packed(ids, offsets, VOCAB, LIMITS)


# ---- texts and counts


def test_texts_may_come_from_an_iterator(
    embedder: mbert.Embedder, classifier: mbert.Classifier, masker: mbert.MaskFiller
) -> None:
    texts = ["a", "the river"]
    found = embedder.embed(text for text in texts)  # type: ignore[arg-type]
    np.testing.assert_array_equal(found, embedder.embed(texts))
    assert classifier.classify(map(str, texts)) == classifier.classify(texts)  # type: ignore[call-overload]
    masked = ["[MASK]", "a [MASK]"]
    assert masker.fill_mask(iter(masked)) == masker.fill_mask(masked)  # type: ignore[call-overload]


@pytest.mark.parametrize("wrong", [None, 5])
def test_what_gives_no_texts_is_refused(
    embedder: mbert.Embedder, classifier: mbert.Classifier, wrong: Any
) -> None:
    for call in (embedder.embed, classifier.classify):
        with pytest.raises(InputError, match=f"texts.*{type(wrong).__name__}"):
            call(wrong)


def test_a_tuple_stays_one(classifier: mbert.Classifier) -> None:
    with pytest.raises(InputError, match=r"\[\(a, b\)\].*\[a, b\]"):
        classifier.classify(("a", "b"))


@pytest.mark.parametrize("wrong", [0, -1, 2.0, "3", True])
def test_a_number_of_results_is_a_positive_integer(wrong: Any) -> None:
    for optional in (True, False):
        with pytest.raises(InputError, match=f"top_k.*{wrong!r}"):
            check_top_k(wrong, optional=optional)
    with pytest.raises(InputError, match=r"top_k.*None"):
        check_top_k(None, optional=False)
    check_top_k(None)
    check_top_k(np.int64(2))  # type: ignore[arg-type]


# ---- sequences


@pytest.mark.parametrize("kind", [list, tuple, np.int8, np.int64, np.uint16, np.uint64])
def test_sequences_become_int32(kind: Callable[..., Any]) -> None:
    values = [[3, 0, 99], [7]]
    given = [kind(v) if kind in (list, tuple) else np.array(v, kind) for v in values]
    checked = check_sequences(given, VOCAB, LIMITS)
    assert [sequence.tolist() for sequence in checked] == values
    assert {sequence.dtype for sequence in checked} == {np.dtype(np.int32)}


def test_sequences_come_from_anything_that_iterates() -> None:
    rows = np.array([[1, 2], [3, 4]])
    for given in (rows, iter(rows), (row for row in rows.tolist())):
        assert [s.tolist() for s in check_sequences(given, VOCAB, LIMITS)] == rows.tolist()
    assert check_sequences([], VOCAB, LIMITS) == []


def test_checked_int32_is_not_copied() -> None:
    ids = np.array([1, 2, 3], np.int32)
    before = ids.copy()
    check_sequences([ids], VOCAB, LIMITS)
    np.testing.assert_array_equal(ids, before)


@pytest.mark.parametrize(("sequence", "message"), NO_INTEGERS)
def test_a_sequence_is_a_flat_list_of_integers(sequence: object, message: str) -> None:
    with pytest.raises(InputError, match=f"Sequence 1 is .*{message}"):
        check_sequences([[1], sequence], VOCAB, LIMITS)


@pytest.mark.parametrize(("sequence", "message"), NO_IDS)
def test_a_sequence_holds_ids_of_the_vocabulary(sequence: object, message: str) -> None:
    with pytest.raises(InputError, match=f"Sequence 1 (has|holds) .*{message}"):
        check_sequences([[1], sequence], VOCAB, LIMITS)


def test_an_empty_sequence_is_refused() -> None:
    for empty in ([], (), np.array([], np.int32)):
        with pytest.raises(InputError, match=r"Sequence 2 .*empty"):
            check_sequences([[1], [2], empty], VOCAB, LIMITS)


def test_a_sequence_may_be_as_long_as_the_limit() -> None:
    assert check_sequences([[1] * 16], VOCAB, LIMITS)[0].size == 16
    with pytest.raises(InputError, match=r"Sequence 0 has 17 tokens.*16"):
        check_sequences([[1] * 17], VOCAB, LIMITS)
    with pytest.raises(InputError, match="Text 3 has 17 tokens"):
        check_length(17, LIMITS.max_sequence_length, "Text 3")


@pytest.mark.parametrize("text", ["a text", b"bytes"])
def test_a_text_is_no_list_of_sequences(text: str | bytes) -> None:
    with pytest.raises(InputError, match=r"string.*tokenize\(\)"):
        check_sequences(text, VOCAB, LIMITS)


def test_one_flat_list_is_no_list_of_sequences() -> None:
    with pytest.raises(InputError, match=r"Sequence 0 .*int64.*\[\]"):
        check_sequences([1, 2, 3], VOCAB, LIMITS)


# ---- packed arrays


@pytest.mark.parametrize("kind", [np.int16, np.int64, np.uint32, np.uint64])
def test_packed_arrays_become_int32(kind: type) -> None:
    ids, offsets = packed(np.array([5, 6, 7], kind), np.array([0, 1, 3], kind))
    assert (ids.tolist(), offsets.tolist()) == ([5, 6, 7], [0, 1, 3])
    assert ids.dtype == offsets.dtype == np.int32


@pytest.mark.parametrize(
    ("ids", "offsets"),
    [
        ([], [0]),
        ([], [0, 0]),
        ([1, 2], [0, 2]),
        ([1, 2], [0, 0, 2, 2]),
        ([1, 2, 3, 4], [0, 2]),
        ([1, 2, 3], [0]),
        ([1] * 64, [0, 16, 32, 48, 64]),
    ],
    ids=["nothing", "empty", "one", "empty ones between", "slack", "slack alone", "full"],
)
def test_what_keeps_the_contract_is_taken(ids: list[int], offsets: list[int]) -> None:
    found = packed(ids, offsets)
    assert [array.tolist() for array in found] == [ids, offsets]


@pytest.mark.parametrize(("value", "message"), NO_INTEGERS)
def test_packed_arrays_are_flat_integers(value: object, message: str) -> None:
    with pytest.raises(InputError, match=f"input_ids is .*{message}"):
        packed(value, [0, 1])
    with pytest.raises(InputError, match=f"cu_seqlens is .*{message}"):
        packed([1], value)


@pytest.mark.parametrize(("ids", "message"), NO_IDS)
def test_packed_ids_are_of_the_vocabulary(ids: list[int], message: str) -> None:
    with pytest.raises(InputError, match=f"input_ids (has|holds) .*{message}"):
        packed(ids, [0, len(ids)])


def test_slack_ids_are_checked_as_well() -> None:
    with pytest.raises(InputError, match="input_ids has token id 100 at position 2"):
        packed([1, 2, 100], [0, 2])


@pytest.mark.parametrize(
    ("offsets", "message"),
    [
        ([], r"\[\]"),
        ([1, 3], r"\[1, 3\]"),
        ([-1, 3], r"\[-1, 3\]"),
        ([0, 3, 2], "3 to 2 .*entry 2"),
        ([0, 1, -1], "1 to -1 .*entry 2"),
        ([0, 4], "4.*input_ids has 3 tokens"),
        ([0, 2**31], f"{2**31}.*input_ids has 3 tokens"),
        ([0, 2**32], f"{2**32}.*input_ids has 3 tokens"),
        ([0, 2**63 - 1], f"{2**63 - 1}.*input_ids has 3 tokens"),
        ([0, 0, 0, 0, 0, 3], "5 sequences.*4"),
    ],
)
def test_offsets_that_break_the_contract_are_refused(offsets: list[int], message: str) -> None:
    with pytest.raises(InputError, match=f"cu_seqlens .*{message}"):
        packed([1, 2, 3], offsets)


@pytest.mark.parametrize(
    "offsets",
    [
        np.array([0, 2**64 - 1], np.uint64),
        np.array([0, 2**63, 3], np.uint64),
        np.array([0, 2**63 - 1, -(2**63), 3], np.int64),
        np.array([0, 2**62, -(2**62), 3], np.int64),
    ],
)
def test_offsets_that_would_wrap_are_refused(offsets: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"cu_seqlens|Sequence"):
        packed([1, 2, 3], offsets)


def test_too_long_a_packed_sequence_is_refused() -> None:
    with pytest.raises(InputError, match=r"Sequence 1 has 17 tokens.*16"):
        packed([1] * 20, [0, 3, 20])


def test_too_many_tokens_are_refused() -> None:
    with pytest.raises(InputError, match=r"65 tokens.*64.*run\(\)"):
        packed([1] * 65, [0, 1])


# ---- the other packed inputs

MASKS = TensorSpec("mask_positions", "int32", ("masks",))
ROWS = TensorSpec("counted_rows", "int32", ("tokens",))
OFFSETS = TensorSpec("counted_offsets", "int32", ("sequences + 1",))
EXPANSIONS = TensorSpec("expansions", "int32", ("expansions", 2))
SEEN = TensorSpec("seen", "int32", ("seen", 3))


def packed_input(spec: TensorSpec, value: Any) -> np.ndarray:
    """Check an input beside five tokens of two sequences, each of at most 16 tokens."""
    return check_packed_input(spec, value, tokens=5, sequences=2, longest=16)


@pytest.mark.parametrize(
    ("spec", "value"),
    [
        (MASKS, np.array([0, 4, 4, 1], np.uint8)),
        (MASKS, []),
        (ROWS, [0, 1, 4, 0, 0]),
        (OFFSETS, [0, 2, 5]),
        (EXPANSIONS, [[1, 15], [0, 0]]),
        (EXPANSIONS, np.zeros((0, 2), np.int64)),
        (SEEN, [[4, 1, 15]]),
        (SEEN, np.zeros((0, 3), np.int64)),
    ],
)
def test_packed_inputs_become_int32(spec: TensorSpec, value: Any) -> None:
    found = packed_input(spec, value)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, np.asarray(value))


@pytest.mark.parametrize("rows", [[-1], [5], [0, 5], [2**32]])
def test_positions_are_rows_of_the_packed_tokens(rows: list[int]) -> None:
    with pytest.raises(InputError, match=f"mask_positions.*{rows[-1]}.*0 to 4"):
        packed_input(MASKS, rows)


@pytest.mark.parametrize(
    ("spec", "value", "message"),
    [
        (ROWS, [0, 1], r"\[2\].*tokens.*5 tokens"),
        (ROWS, [0, 1, 5, 0, 0], "5.*0 to 4"),
        (ROWS, [[0, 1, 2, 3, 4]], r"\[1, 5\]"),
        (OFFSETS, [0, 5], r"\[2\].*2 sequences"),
        (OFFSETS, [0, 6, 5], "6.*0 to 5"),
        (OFFSETS, [-1, 2, 5], "-1.*0 to 5"),
        (OFFSETS, [1, 2, 5], r"\[1, 2, 5\]"),
        (OFFSETS, [0, 5, 2], r"\[0, 5, 2\]"),
        (EXPANSIONS, [0, 1], r"\[2\]"),
        (EXPANSIONS, [[0, 1, 2]], r"\[1, 3\]"),
        (EXPANSIONS, [[2, 0]], "2.*0 to 1"),
        (EXPANSIONS, [[0, 16]], "16.*0 to 15"),
        (EXPANSIONS, [[0, -1]], "-1.*0 to 15"),
        (SEEN, [[0, 1]], r"\[1, 2\]"),
        (SEEN, [[5, 0, 0]], "5.*0 to 4"),
        (SEEN, [[0, 2, 0]], "2.*0 to 1"),
        (SEEN, [[0, 0, 16]], "16.*0 to 15"),
        (MASKS, [[0, 1]], r"\[1, 2\]"),
        (MASKS, 3, r"\[\]"),
        (SEEN, [[0.5, 0, 0]], "float64"),
        (EXPANSIONS, [["a", "b"]], "U1"),
        (EXPANSIONS, [[1, 2], [3]], "array of integers"),
    ],
)
def test_packed_inputs_that_do_not_fit_are_refused(
    spec: TensorSpec, value: Any, message: str
) -> None:
    with pytest.raises(InputError, match=f"{spec.name}.*{message}"):
        packed_input(spec, value)


@pytest.mark.parametrize(("value", "message"), NO_INTEGERS)
def test_positions_are_flat_integers(value: object, message: str) -> None:
    with pytest.raises(InputError, match="mask_positions"):
        packed_input(MASKS, value)


# ---- the same through a model


@pytest.mark.parametrize(
    ("sequences", "message"),
    [
        ([[1, 2], []], "Sequence 1 is empty"),
        ([[1], [500]], "Sequence 1 .*500 .*0 to 499"),
        ([[-1]], "Sequence 0 has token id -1"),
        ([[0.5]], "Sequence 0 is float64"),
        ([[1] * 1025], "Sequence 0 has 1025 tokens.*1024"),
        ("a text", "string"),
        (["a", "b"], "Sequence 0 is <U1"),
    ],
)
def test_run_refuses_before_anything_is_computed(
    embedder: mbert.Embedder, sequences: Any, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        embedder.run(sequences)


@pytest.mark.parametrize(
    ("ids", "offsets", "message"),
    [
        ([1, 500], [0, 2], "input_ids has token id 500 at position 1; .* 0 to 499"),
        ([1, 2], [0, 3], "cu_seqlens ends at 3"),
        ([1, 2], [1, 2], r"cu_seqlens.*\[1, 2\]"),
        ([1, 2], [0, 2, 1], "decreases"),
        ([1] * 1025, [0, 1025], "Sequence 0 has 1025 tokens"),
        ([1] * 16385, [0, 1], "16385 tokens.*16384"),
        ([1], [0] * 2050, "2049 sequences.*2048"),
    ],
)
def test_run_packed_refuses_before_anything_is_computed(
    embedder: mbert.Embedder, ids: list[int], offsets: list[int], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        embedder.run_packed(ids, offsets)


def test_an_input_that_the_graph_lacks_is_refused(
    embedder: mbert.Embedder, classifier: mbert.Classifier, masker: mbert.MaskFiller
) -> None:
    for model in (embedder, classifier):
        with pytest.raises(InputError, match=f"mask_positions.*{model.task}"):
            model.run_packed([1, 3, 2], [0, 3], mask_positions=[1])
    with pytest.raises(InputError, match=r"seen.*fill-mask.*mask_positions"):
        masker.run_packed([1, 3, 2], [0, 3], seen=[[0, 0, 0]])
    for rows in ([3], [-1], [0, 2**40]):
        with pytest.raises(InputError, match=f"mask_positions.*{rows[-1]}.*0 to 2"):
            masker.run_packed([1, 3, 2], [0, 3], mask_positions=rows)


@pytest.mark.parametrize("texts", [{"a": 1}, {"a", "b"}, frozenset("ab"), {"a": 1}.keys(), b"ab"])
def test_texts_without_an_order_are_refused(
    embedder: mbert.Embedder,
    masker: mbert.MaskFiller,
    classifier: mbert.Classifier,
    texts: Any,
) -> None:
    kind = type(texts).__name__
    for call in (
        embedder.embed,
        embedder.embed_iter,
        masker.fill_mask,
        masker.fill_mask_iter,
        classifier.classify,
        classifier.classify_iter,
        embedder.tokenize,
        embedder.count_tokens,
    ):
        with pytest.raises(InputError, match=kind):
            call(texts)


def test_an_input_error_is_a_value_error(embedder: mbert.Embedder) -> None:
    with pytest.raises(ValueError, match="is empty"):
        embedder.run([[]])
    assert issubclass(InputError, mbert.MbertError)
