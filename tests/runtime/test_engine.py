"""The engine: sequences in, rows out, against a session that computes sums."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mbert.errors import BackendError, BundleError, InputError
from mbert.runtime.engine import BATCH_TOKENS, Engine
from mbert.runtime.feeds import Feeds
from mbert.runtime.manifest import Limits, Manifest, TensorSpec
from mbert.runtime.manifest_reader import read_manifest
from mbert.runtime.packing import TokenSequence
from support.task_cases import extract_bundles

MASK = 3
LIMITS = Limits(max_tokens=600, max_sequence_length=128, max_sequences=5)


@pytest.fixture(scope="module")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Manifest]:
    bundles = extract_bundles(tmp_path_factory.mktemp("engine"))
    return {
        name: replace(read_manifest(Path(path)), limits=LIMITS) for name, path in bundles.items()
    }


class SummingSession:
    """Gives each output's rows: ids by tokens or masks, their sum by sequences."""

    def __init__(self, outputs: tuple[TensorSpec, ...]) -> None:
        self.outputs = outputs
        self.calls: list[Feeds] = []
        self.closed = False

    def run(self, feeds: Feeds) -> list[NDArray[Any]]:
        self.calls.append(feeds)
        ids, offsets = feeds["input_ids"].astype(np.float32), feeds["cu_seqlens"]
        rows = {"tokens": ids, "masks": ids[feeds.get("mask_positions", [])]}
        parts = np.split(ids, offsets[1:])[:-1]
        rows["sequences"] = np.array([part.sum() for part in parts], np.float32)
        return [rows[str(spec.shape[0])][:, None] * (i + 1) for i, spec in enumerate(self.outputs)]

    def close(self) -> None:
        self.closed = True


def engine_of(manifest: Manifest) -> tuple[Engine, SummingSession]:
    session = SummingSession(manifest.outputs)
    return Engine(manifest, lambda: session), session


def sequences_of(lengths: list[int]) -> list[TokenSequence]:
    generator = np.random.default_rng(0)
    return [TokenSequence(generator.integers(4, 300, length, dtype=np.int32)) for length in lengths]


LENGTHS = st.lists(st.integers(1, 128), max_size=20)


@given(lengths=LENGTHS, batch_tokens=st.none() | st.integers(1, 600))
def test_each_sequence_gets_its_rows(
    manifests: dict[str, Manifest], lengths: list[int], batch_tokens: int | None
) -> None:
    sequences = sequences_of(lengths)
    for name in ("feature-extraction", "question-answering", "text-classification"):
        engine, session = engine_of(manifests[name])
        found = dict(engine.run(sequences, batch_tokens))
        assert sorted(found) == list(range(len(sequences)))
        for i, sequence in enumerate(sequences):
            assert len(found[i]) == len(session.outputs)
            for k, rows in enumerate(found[i], 1):
                expected = sequence.ids.astype(np.float32)[:, None] * k
                if name == "text-classification":
                    expected = expected.sum(axis=0)
                np.testing.assert_array_equal(rows, expected)
        largest = batch_tokens or 600
        for call in session.calls:
            assert call["cu_seqlens"].size - 1 <= LIMITS.max_sequences
            assert call["input_ids"].size <= largest or call["cu_seqlens"].size == 2


@given(
    places=st.lists(st.lists(st.booleans(), min_size=1, max_size=20), max_size=12),
    batch_tokens=st.integers(1, 100),
)
def test_each_sequence_gets_the_rows_of_its_masks(
    manifests: dict[str, Manifest], places: list[list[bool]], batch_tokens: int
) -> None:
    sequences = [TokenSequence(np.where(masked, MASK, 9).astype(np.int32)) for masked in places]
    engine, _ = engine_of(manifests["fill-mask"])
    found = dict(engine.run(sequences, batch_tokens))
    assert [found[i][0].shape[0] for i in range(len(places))] == [sum(one) for one in places]


@given(
    queries=st.lists(
        st.integers(1, 30).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n - 1))),
        max_size=12,
    ),
    batch_tokens=st.integers(1, 100),
)
def test_unattended_tokens_come_back_in_their_places(
    manifests: dict[str, Manifest], queries: list[tuple[int, int]], batch_tokens: int
) -> None:
    plain = sequences_of([length for length, _ in queries])
    sequences = [
        sequence._replace(unattended=count)
        for sequence, (_, count) in zip(plain, queries, strict=True)
    ]
    engine, session = engine_of(manifests["multi-vector"])
    found = dict(engine.run(sequences, batch_tokens))
    for i, sequence in enumerate(sequences):
        np.testing.assert_array_equal(found[i][0][:, 0], sequence.ids)
    # Sequences with unattended tokens share no batch with others.
    for call in session.calls:
        lengths = np.diff(call["cu_seqlens"])
        with_some = np.unique(call["expansions"][:, 0])
        assert with_some.size in (0, lengths.size)


def test_the_default_batch(manifests: dict[str, Manifest]) -> None:
    manifest = manifests["feature-extraction"]
    large = replace(manifest, limits=replace(LIMITS, max_tokens=16384))
    assert engine_of(large)[0].batch_tokens == BATCH_TOKENS
    assert engine_of(manifest)[0].batch_tokens == LIMITS.max_tokens
    assert engine_of(replace(large, target="cuda"))[0].batch_tokens == 16384
    for wrong in (0, -1, 601, 2.0, True):
        with pytest.raises(InputError, match=f"batch_tokens.*{wrong}"):
            next(engine_of(manifest)[0].run(sequences_of([3]), wrong))  # type: ignore[arg-type]


def test_nothing_is_run_ahead_of_its_reader(manifests: dict[str, Manifest]) -> None:
    engine, session = engine_of(manifests["feature-extraction"])
    rows: Iterator[Any] = engine.run(sequences_of([10] * 6), 20)
    assert session.calls == []
    next(rows)
    next(rows)
    assert len(session.calls) == 1
    assert len(list(rows)) == 4
    assert len(session.calls) == 3


def test_a_closed_engine_refuses(manifests: dict[str, Manifest]) -> None:
    engine, session = engine_of(manifests["feature-extraction"])
    engine.close()
    engine.close()
    assert session.closed
    with pytest.raises(BackendError, match="closed"):
        list(engine.run(sequences_of([3])))
    assert list(engine.run([])) == []


def test_an_unknown_mask_token_is_named(manifests: dict[str, Manifest]) -> None:
    engine, _ = engine_of(replace(manifests["fill-mask"], special_tokens={}))
    with pytest.raises(BundleError, match="mask token"):
        list(engine.run(sequences_of([3])))
