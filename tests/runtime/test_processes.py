"""Models in other processes: pickled, copied, forked and spawned."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle
import threading
import time
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import mbert
from mbert.errors import BackendError
from mbert.runtime.engine import Engine
from support.children import embed_in_a_child
from support.task_cases import CASES, LONG, assert_same, extract_bundles

TEXTS = ("The river rose in the night.", "", "A baker sells bread.")


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return extract_bundles(tmp_path_factory.mktemp("processes"))


@pytest.fixture
def model(bundles: dict[str, Path]) -> Iterator[mbert.Embedder]:
    with mbert.Embedder.load(
        bundles["feature-extraction"], threads=1, overflow="truncate"
    ) as loaded:
        yield loaded


@pytest.mark.parametrize("name", CASES)
def test_a_pickled_model_is_loaded_again(bundles: dict[str, Path], name: str) -> None:
    case = CASES[name]
    with mbert.load(bundles[case.bundle], threads=1) as model:
        pickled = pickle.dumps(model)
        assert len(pickled) < 2000  # the folder and the options, no weights
        expected = case.call(model, case.inputs())
    with pickle.loads(pickled) as other:
        assert type(other) is type(model)
        assert_same(case.call(other, case.inputs()), expected, 0)


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
def test_a_copied_model_is_a_model_of_its_own(model: mbert.Embedder, duplicate: Any) -> None:
    expected = model.embed([*TEXTS, LONG])
    with duplicate(model) as other:
        assert other.engine is not model.engine
        # The options travel too: a long text is truncated.
        np.testing.assert_array_equal(other.embed([*TEXTS, LONG]), expected)
    np.testing.assert_array_equal(model.embed([*TEXTS, LONG]), expected)


def test_a_pickle_remembers_the_folder_and_not_where_it_was_made(
    bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = bundles["feature-extraction"]
    monkeypatch.chdir(folder.parent)
    with mbert.load(folder.name) as model:
        pickled = pickle.dumps(model)
    monkeypatch.chdir(tmp_path)
    with pickle.loads(pickled) as other:
        assert other.task == "feature-extraction"


def _in_a_child(method: str, model: mbert.Embedder) -> NDArray[np.float32]:
    """Return what a child process embeds."""
    context: Any = multiprocessing.get_context(method)
    ours, theirs = context.Pipe()
    child = context.Process(target=embed_in_a_child, args=(model, TEXTS, theirs))
    child.start()
    theirs.close()
    try:
        assert ours.poll(120), "the child hangs"
        pid, vectors = ours.recv()
    finally:
        child.join(10)
        child.kill()
    assert pid == child.pid
    assert child.exitcode == 0
    found: NDArray[np.float32] = vectors
    return found


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_child_process_computes_the_same_bits(
    bundles: dict[str, Path], method: str, threads: int
) -> None:
    with mbert.Embedder.load(bundles["feature-extraction"], threads=threads) as model:
        before = model.embed(TEXTS)  # its threads run
        np.testing.assert_array_equal(_in_a_child(method, model), before)
        np.testing.assert_array_equal(_in_a_child(method, model), before)
        np.testing.assert_array_equal(model.embed(TEXTS), before)


class _Session:
    """A session that computes nothing and counts."""

    def __init__(self) -> None:
        self.closed = self.calls = 0

    def run(self, feeds: Any) -> list[Any]:
        self.calls += 1
        return [np.zeros((feeds["input_ids"].size, 64), np.float32)]

    def close(self) -> None:
        self.closed += 1


def test_a_forked_child_opens_a_session_and_leaves_the_parents_alone(
    model: mbert.Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions: list[_Session] = []

    def opened() -> _Session:
        sessions.append(_Session())
        return sessions[-1]

    feeds = {"input_ids": np.zeros(1, np.int32), "cu_seqlens": np.array([0, 1], np.int32)}
    engine = Engine(model.info, opened)
    engine.run_packed(dict(feeds))
    assert len(sessions) == 1
    process = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: process + 1)  # as in a child
    for _ in range(2):
        engine.run_packed(dict(feeds))
    assert len(sessions) == 2
    engine.close()
    assert [session.closed for session in sessions] == [0, 1]


def test_threads_of_a_forked_child_share_one_session(
    model: mbert.Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions: list[_Session] = []
    both = threading.Barrier(2)

    def opened() -> _Session:
        time.sleep(0.05)  # the other thread arrives meanwhile
        sessions.append(_Session())
        return sessions[-1]

    engine = Engine(model.info, opened)
    process = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: process + 1)
    parents = sessions[0]
    used: list[Any] = []

    def run() -> None:
        both.wait()
        engine.run_packed(
            {"input_ids": np.zeros(1, np.int32), "cu_seqlens": np.array([0, 1], np.int32)}
        )
        used.append(engine._session)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(sessions) == 2
    assert used == [sessions[1]] * 2
    assert [session.calls for session in sessions] == [0, 2]
    # Kept through a close, since freeing it would wait for threads that the child lacks.
    alive = weakref.ref(parents)
    sessions.clear()
    del parents
    for _ in range(2):
        engine.close()
    assert alive() is not None


def test_a_child_that_only_closes_leaves_the_parents_session_alone(
    model: mbert.Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = _Session()
    engine = Engine(model.info, [session].pop)
    process = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: process + 1)
    for _ in range(2):
        engine.close()
    assert session.closed == 0
    alive = weakref.ref(session)
    del session
    assert alive() is not None
    with pytest.raises(BackendError, match="closed"):
        engine.run_packed({})


def test_a_gpu_does_not_survive_a_fork(
    model: mbert.Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(replace(model.info, target="cuda"), _Session)
    process = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: process + 1)
    feeds = {"input_ids": np.zeros(1, np.int32), "cu_seqlens": np.array([0, 1], np.int32)}
    with pytest.raises(BackendError, match=r"fork.*spawn"):
        engine.run_packed(feeds)
