"""Packed arrays with every input that a manifest lists."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mbert
from mbert.errors import InputError
from mbert.runtime.feeds import unattended_tokens
from mbert.runtime.packing import pack
from mbert.runtime.tasks.multi_vector import EmbedMulti
from support.old_bundles import TEXTS
from support.results import close
from support.task_cases import extract_bundles


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return extract_bundles(tmp_path_factory.mktemp("packed"))


@pytest.fixture(scope="module")
def model(bundles: dict[str, Path]) -> Iterator[mbert.MultiVectorEmbedder]:
    with mbert.MultiVectorEmbedder.load(bundles["multi-vector"], threads=1) as model:
        yield model


def test_expansions_make_the_vectors_of_queries(model: mbert.MultiVectorEmbedder) -> None:
    operation = EmbedMulti(model.context, role="query")
    sequences = [one for (one,) in operation.encode(TEXTS)]
    (batch,) = pack([sequence.ids for sequence in sequences], 1000, 10)
    unattended = np.array([sequences[i].unattended for i in batch.indices], np.int32)
    assert unattended.any()
    order, feeds = unattended_tokens(batch, unattended)
    found = model.run_packed(**feeds)
    packed = np.empty_like(found)
    packed[order] = found
    parts = np.split(packed, batch.cu_seqlens[1:-1])
    for i, part in zip(batch.indices, parts, strict=True):
        vectors = operation.reduce((part,), sequences[i])
        assert close(vectors, model.embed(TEXTS[i], role="query"))
    # Without the two inputs the same tokens are slack, whose rows mean nothing.
    plain = model.run_packed(feeds["input_ids"], feeds["cu_seqlens"])
    real = feeds["cu_seqlens"][-1]
    assert close(plain[:real], found[:real])
    assert not close(plain[real:], found[real:])


def test_an_input_that_is_none_is_derived(model: mbert.MultiVectorEmbedder) -> None:
    plain = model.run_packed([1, 7, 2], [0, 3])
    np.testing.assert_array_equal(
        model.run_packed([1, 7, 2], [0, 3], expansions=None, seen=None), plain
    )
    no_places: Any = np.zeros((0, 2), np.int64), np.zeros((0, 3), np.int64)
    np.testing.assert_array_equal(
        model.run_packed([1, 7, 2], [0, 3], expansions=no_places[0], seen=no_places[1]), plain
    )


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"expansions": [[1, 0]]}, r"expansions.*1.*0 to 0"),
        ({"expansions": [[0, 128]]}, r"expansions.*128.*0 to 127"),
        ({"expansions": [0, 1]}, r"expansions.*\[2\]"),
        ({"expansions": [[0, 1, 2]]}, r"expansions.*\[1, 3\]"),
        ({"expansions": [[0.5, 1]]}, r"expansions.*float64"),
        ({"seen": [[4, 0, 0]]}, r"seen.*4.*0 to 3"),
        ({"seen": [[0, 1, 0]]}, r"seen.*1.*0 to 0"),
        ({"seen": [[0, 0, -1]]}, r"seen.*-1"),
        ({"seen": [[0, 0]]}, r"seen.*\[1, 2\]"),
        ({"mask_positions": [0]}, r"mask_positions.*multi-vector.*expansions, seen"),
        ({"counted_rows": [0]}, r"counted_rows.*multi-vector"),
        ({"unknown": [0]}, r"unknown.*multi-vector"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(
    model: mbert.MultiVectorEmbedder, inputs: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        model.run_packed([1, 7, 9, 2], [0, 3], **inputs)


def test_every_input_of_a_manifest_can_be_given(bundles: dict[str, Path]) -> None:
    for path in bundles.values():
        with mbert.load(path, threads=1) as model:
            feeds: dict[str, Any] = {"input_ids": [1, 3, 2], "cu_seqlens": [0, 3]}
            expected = model.run_packed(**feeds)
            derived = {
                "mask_positions": [1],
                "counted_rows": [0, 1, 2],
                "counted_offsets": [0, 3],
                "expansions": np.zeros((0, 2), np.int8),
                "seen": np.zeros((0, 3), np.int8),
            }
            names = {spec.name for spec in model.info.inputs}
            given = {name: value for name, value in derived.items() if name in names}
            assert names == {*feeds, *given}
            found = model.run_packed(**feeds, **given)
            for name in found if isinstance(found, dict) else ():
                np.testing.assert_array_equal(found[name], expected[name])
            if not isinstance(found, dict):
                np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"counted_rows": [0, 1, 2, 3]}, r"counted_rows.*counted_offsets"),
        ({"counted_offsets": [0, 1, 2]}, r"counted_offsets.*counted_rows"),
        # Of two sequences, [0, 1] and [2, 3], one counts the other's token.
        (
            {"counted_rows": [0, 1, 1, 0], "counted_offsets": [0, 2, 3]},
            r"counted_rows\[2\] is 1.*sequence 1.*2 to 3",
        ),
    ],
)
def test_counted_rows_belong_to_their_sequence(
    bundles: dict[str, Path], inputs: dict[str, Any], message: str
) -> None:
    with (
        mbert.load(bundles["sentence-similarity"], threads=1) as model,
        pytest.raises(InputError, match=message),
    ):
        model.run_packed([1, 2, 1, 2], [0, 2, 4], **inputs)
