"""Run an engine: inputs and outputs, CUDA graphs, memory and failures."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import mbert
from mbert.errors import BackendError
from mbert.runtime.backends.cuda import Stream
from mbert.runtime.backends.tensorrt import session as session_module
from support.comparison import side_by_side
from support.fake_cuda import Error, FakeCuda
from support.fake_tensorrt import FakeTensorRT
from support.gpu_bundles import COLUMNS, MASK, expected, make_bundle, make_manifest

BACKENDS = ("tensorrt", "tensorrt-rtx")
TASKS = ("feature-extraction", "fill-mask", "text-classification", "question-answering")
# More sequences, more tokens and other lengths than any one profile takes.
LENGTHS = (3, 1, 128, 64, 65, 0, 200, 256, 2, 17, 0, 90, 70, 5, 5, 5)


class Machine:
    """A loaded bundle with the doubles below it."""

    def __init__(self, model: mbert.Model, cuda: FakeCuda, library: FakeTensorRT) -> None:
        self.model, self.cuda, self.library = model, cuda, library
        self.task = model.info.task

    def run(self, sequences: Sequence[NDArray[np.int32]]) -> NDArray[np.float32]:
        ids = np.concatenate([*sequences, np.zeros(0, np.int32)])
        found = self.model.run_packed(ids, np.cumsum([0, *map(len, sequences)]))
        outputs = list(found.values()) if isinstance(found, dict) else [found]
        return side_by_side(outputs)

    def wanted(self, sequences: Sequence[NDArray[np.int32]]) -> NDArray[np.float32]:
        ids = np.concatenate([*sequences, np.zeros(0, np.int32)])
        return expected(sequences, self.task, list(np.flatnonzero(ids == MASK)))


@pytest.fixture
def load(
    tmp_path: Path, give_gpu: Callable[..., FakeCuda], give_library: Callable[..., FakeTensorRT]
) -> Callable[..., Machine]:
    def make(device: str | None = None, gpu: tuple[str, ...] = ("8.9",), **entries: Any) -> Machine:
        manifest = make_manifest(**entries)
        cuda = give_gpu(*gpu)
        library = give_library(manifest, cuda)
        bundle = make_bundle(tmp_path / "bundle", manifest)
        return Machine(mbert.load(bundle, device=device), cuda, library)

    return make


def ids_of(lengths: Sequence[int], seed: int = 0) -> list[NDArray[np.int32]]:
    generator = np.random.default_rng(seed)
    return [generator.integers(0, 8, length, dtype=np.int32) for length in lengths]


# ---- inputs and outputs


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("task", TASKS)
def test_every_row_lands_where_it_belongs(
    load: Callable[..., Machine], backend: str, task: str
) -> None:
    machine = load(backend=backend, task=task)
    for seed in range(3):
        sequences = ids_of(LENGTHS, seed)
        found = machine.run(sequences)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, machine.wanted(sequences))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_every_precision_comes_out_as_float32(load: Callable[..., Machine], dtype: str) -> None:
    machine = load(dtype=dtype)
    sequences = ids_of((5, 20))  # sums that bfloat16 holds
    found = machine.run(sequences)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, machine.wanted(sequences))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("lengths", [(), (0,), (0, 0, 0), (1,)])
def test_next_to_nothing(
    load: Callable[..., Machine], backend: str, task: str, lengths: tuple[int, ...]
) -> None:
    machine = load(backend=backend, task=task)
    sequences = ids_of(lengths)
    np.testing.assert_array_equal(machine.run(sequences), machine.wanted(sequences))


def test_sequences_are_packed_and_put_back(load: Callable[..., Machine]) -> None:
    machine = load()
    sequences = ids_of([length for length in LENGTHS if length] * 5)
    results = machine.model.run(sequences)
    for ids, result in zip(sequences, results, strict=True):
        np.testing.assert_array_equal(result, expected([ids], machine.task))


def test_results_are_not_overwritten_by_later_calls(load: Callable[..., Machine]) -> None:
    machine = load(dtype="float32")
    first = ids_of((9, 9))
    found = machine.run(first)
    machine.run(ids_of((9, 9), seed=1))
    np.testing.assert_array_equal(found, machine.wanted(first))


# ---- graphs


def test_calls_of_like_sizes_share_a_graph(load: Callable[..., Machine]) -> None:
    machine = load()
    for seed, lengths in enumerate(((100, 27), (101, 26), (99, 20))):  # 128 tokens in two groups
        sequences = ids_of(lengths, seed)
        np.testing.assert_array_equal(machine.run(sequences), machine.wanted(sequences))
    assert (machine.library.contexts, machine.cuda.captures, machine.cuda.launches) == (1, 1, 2)


def test_what_is_met_once_is_not_captured(load: Callable[..., Machine]) -> None:
    machine = load()
    for lengths in ((10,), (100,), (200,)):
        sequences = ids_of(lengths)
        np.testing.assert_array_equal(machine.run(sequences), machine.wanted(sequences))
    assert (machine.library.contexts, machine.cuda.captures, machine.cuda.launches) == (3, 0, 0)


@pytest.mark.parametrize(
    "function", ["cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiate"]
)
def test_what_cannot_be_captured_still_runs(load: Callable[..., Machine], function: str) -> None:
    machine = load()
    before = machine.cuda.held
    machine.cuda.errors[function] = Error.cudaErrorStreamCaptureUnsupported
    for seed in range(4):
        sequences = ids_of((100, 27), seed)
        np.testing.assert_array_equal(machine.run(sequences), machine.wanted(sequences))
    # Capture is tried once, not at every call.
    assert (machine.library.contexts, machine.cuda.captures, machine.cuda.launches) == (1, 1, 0)
    assert machine.cuda.held == before


def test_a_graph_is_freed_whatever_ends_its_capture(give_gpu: Callable[..., FakeCuda]) -> None:
    cuda = give_gpu()
    stream = Stream(0)
    before = cuda.held

    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stream.capture(interrupted)
    assert cuda.held == before
    graph = stream.capture(lambda: None)  # the stream is in no capture any more
    assert graph is not None
    stream.destroy(graph)
    assert cuda.held == before


def test_graphs_are_kept_up_to_a_number(
    load: Callable[..., Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "_SIZES", 2)
    machine = load()
    before = machine.cuda.held
    for lengths in ((10,), (100,), (200,), (10,), (10,)):
        sequences = ids_of(lengths)
        np.testing.assert_array_equal(machine.run(sequences), machine.wanted(sequences))
        assert machine.cuda.held - before <= 2
    assert machine.library.contexts == 4  # the first size was dropped for the third
    assert machine.cuda.launches == 1


# ---- memory


@pytest.mark.parametrize("backend", BACKENDS)
def test_memory_is_taken_once(load: Callable[..., Machine], backend: str) -> None:
    machine = load(backend=backend, task="fill-mask")
    free = machine.cuda.free
    for lengths in (LENGTHS, (256,) * 4, (1,) * 16, (7,)):
        machine.run(ids_of(lengths))
    assert machine.cuda.free == free < machine.cuda.memory


def test_closing_frees_everything(load: Callable[..., Machine]) -> None:
    machine = load()
    machine.run(ids_of((5,)))
    assert machine.cuda.held
    machine.model.close()
    assert machine.cuda.held == 0
    machine.model.close()
    with pytest.raises(BackendError, match="closed"):
        machine.run(ids_of((5,)))


def test_a_session_that_was_closed_elsewhere_says_so(load: Callable[..., Machine]) -> None:
    """One thread runs while another closes the model."""
    machine = load()
    session = machine.model.engine._session
    assert session is not None
    machine.model.close()
    with pytest.raises(BackendError, match="closed"):
        session.run({"input_ids": np.zeros(1, np.int32), "cu_seqlens": np.array([0, 1], np.int32)})


def test_a_forgotten_model_frees_everything(load: Callable[..., Machine]) -> None:
    machine = load()
    machine.run(ids_of((5,)))
    cuda = machine.cuda
    del machine
    gc.collect()
    assert cuda.held == 0


# ---- failures


def failing(
    tmp_path: Path,
    give_gpu: Callable[..., FakeCuda],
    give_library: Callable[..., FakeTensorRT],
    **gpu: Any,
) -> tuple[Path, FakeCuda, FakeTensorRT]:
    manifest = make_manifest()
    cuda = give_gpu(**gpu)
    library = give_library(manifest, cuda)
    return make_bundle(tmp_path / "bundle", manifest), cuda, library


def test_an_engine_that_is_refused(
    tmp_path: Path, give_gpu: Callable[..., FakeCuda], give_library: Callable[..., FakeTensorRT]
) -> None:
    bundle, cuda, library = failing(tmp_path, give_gpu, give_library)
    library.deserializes = False
    message = r"cannot load the engine .*l4\.engine: the plan is of another kind\. Export again"
    with pytest.raises(BackendError, match=message):
        mbert.load(bundle)
    gc.collect()
    assert cuda.held == 0


def test_an_engine_of_another_signature(
    tmp_path: Path, give_gpu: Callable[..., FakeCuda], give_library: Callable[..., FakeTensorRT]
) -> None:
    bundle, cuda, library = failing(tmp_path, give_gpu, give_library)
    library.inputs = library.inputs[:-1]
    message = r"pad_index int32, .* the bundle says .*key_mask bool, .*Export again"
    with pytest.raises(BackendError, match=message):
        mbert.load(bundle)
    gc.collect()
    assert cuda.held == 0


@pytest.mark.parametrize(
    ("dtype", "named"),
    [("float32", "float32"), ("bfloat16", "bfloat16"), ("int64", r"DataType\.INT64")],
)
def test_an_engine_with_a_tensor_of_another_type(
    tmp_path: Path,
    give_gpu: Callable[..., FakeCuda],
    give_library: Callable[..., FakeTensorRT],
    dtype: str,
    named: str,
) -> None:
    bundle, _, library = failing(tmp_path, give_gpu, give_library)
    library.outputs = (replace(library.outputs[0], dtype=dtype),)
    message = rf"last_hidden_state {named}, .* the bundle says .*last_hidden_state float16, "
    with pytest.raises(BackendError, match=message):
        mbert.load(bundle)


@pytest.mark.parametrize("columns", [COLUMNS - 1, COLUMNS + 1])
def test_an_engine_whose_output_has_another_shape(
    tmp_path: Path,
    give_gpu: Callable[..., FakeCuda],
    give_library: Callable[..., FakeTensorRT],
    columns: int,
) -> None:
    """A wider one would be written past its memory."""
    bundle, _, library = failing(tmp_path, give_gpu, give_library)
    library.outputs = (replace(library.outputs[0], shape=("tokens", columns)),)
    message = (
        rf"'last_hidden_state' of shape \[64, {columns}\] for the sizes .*'tokens': 64.*; the "
        rf"bundle says \[64, {COLUMNS}\]\. Export again"
    )
    with mbert.load(bundle) as model, pytest.raises(BackendError, match=message):
        model.run([[1, 2]])


def test_too_little_memory(
    tmp_path: Path, give_gpu: Callable[..., FakeCuda], give_library: Callable[..., FakeTensorRT]
) -> None:
    bundle, cuda, _ = failing(tmp_path, give_gpu, give_library, memory=8192)
    message = r"cuda:0 \(GPU 8.9\) has 0 MiB free of 0; the model asks for .*smaller --max-tokens"
    with pytest.raises(BackendError, match=message):
        mbert.load(bundle)
    gc.collect()
    assert cuda.held == 0


def test_a_call_that_cannot_start(load: Callable[..., Machine]) -> None:
    machine = load()
    machine.library.runs = False
    with pytest.raises(BackendError, match="TensorRT-RTX failed to run: a kernel is missing"):
        machine.run(ids_of((5,)))
    machine.library.runs = True
    sequences = ids_of((6,))
    np.testing.assert_array_equal(machine.run(sequences), machine.wanted(sequences))


def test_a_call_that_fails_on_the_device(load: Callable[..., Machine]) -> None:
    machine = load()
    machine.cuda.failure = Error.cudaErrorIllegalAddress
    with pytest.raises(BackendError, match=r"cudaStreamSynchronize: .*cudaErrorIllegalAddress"):
        machine.run(ids_of((5,)))


# ---- threads and devices


def test_threads_may_share_a_model(load: Callable[..., Machine]) -> None:
    machine = load()
    barrier = threading.Barrier(4)

    def work(seed: int) -> None:
        barrier.wait()
        for round_ in range(5):
            sequences = ids_of(LENGTHS, seed * 10 + round_)
            np.testing.assert_array_equal(machine.run(sequences), machine.wanted(sequences))

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(work, seed) for seed in range(4)]:
            done.result()


def test_every_call_selects_its_device(load: Callable[..., Machine]) -> None:
    machine = load(device="cuda:1", gpu=("8.6", "8.9"))
    machine.cuda.current = 0  # somebody else's
    machine.run(ids_of((5,)))
    assert machine.cuda.current == 1


# ---- kernels that TensorRT-RTX compiles while running


def runtime_files(folder: Path) -> list[Path]:
    return sorted((folder / "cache" / "engines").glob("*.runtime"))


def test_compiled_kernels_are_kept(load: Callable[..., Machine], tmp_path: Path) -> None:
    machine = load()
    assert machine.library.cache.loaded == []
    machine.model.close()
    (kept,) = runtime_files(tmp_path)
    assert kept.read_bytes() == b"compiled"
    before = kept.stat().st_mtime_ns
    mbert.load(tmp_path / "bundle").close()
    assert machine.library.cache.loaded == [b"compiled"]
    assert kept.stat().st_mtime_ns == before  # nothing new, so nothing written
    kept.write_bytes(b"stale")
    mbert.load(tmp_path / "bundle").close()
    assert kept.read_bytes() == b"compiled"


def test_tensorrt_keeps_no_kernels(load: Callable[..., Machine], tmp_path: Path) -> None:
    load(backend="tensorrt").model.close()
    assert runtime_files(tmp_path) == []
