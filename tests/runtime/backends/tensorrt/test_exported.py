"""An exported bundle through the whole runtime, its engine computed by ONNX Runtime.

The graph is the one that was compiled, the arrays are those that the engine would get, in the
memory that it would get them in; only the GPU is missing.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

import mbert
from mbert.runtime.backends.tensorrt import Library
from mbert.runtime.manifest_reader import read_manifest
from support.checkpoints import make_checkpoint
from support.export_cache import ExportCache
from support.fake_cuda import FakeCuda
from support.fake_tensorrt import Arrays, FakeTensorRT
from support.text import MASK, add_tokenizer

# Groups of many lengths, one sequence longer than the smaller profiles take, and two batches.
LENGTHS = (700, 3, 64, 65, 1, 128, 300, 17, 129, 2, 63, 250, 31, 5)
# One for each kind of rows; of those with a row for each token the one with two outputs.
TASKS = ("fill-mask", "text-classification", "question-answering")


@pytest.fixture(scope="module", params=TASKS)
def bundles(
    request: pytest.FixtureRequest,
    exports: ExportCache,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, Path]:
    """One checkpoint for a GPU and for the CPU."""
    folder = tmp_path_factory.mktemp("exported") / "checkpoint"
    checkpoint = add_tokenizer(make_checkpoint(folder, request.param))
    return exports(checkpoint, gpu="l4", max_tokens=1024), exports(checkpoint)


@pytest.fixture
def model(
    bundles: tuple[Path, Path],
    give_gpu: Callable[..., FakeCuda],
    monkeypatch: pytest.MonkeyPatch,
) -> mbert.Model:
    manifest = read_manifest(bundles[0])
    assert manifest.engine is not None
    session = ort.InferenceSession(bundles[0] / "model.onnx")

    def compute(arrays: Arrays) -> list[NDArray[Any]]:
        return [np.asarray(output) for output in session.run(None, dict(arrays))]

    cuda = give_gpu(memory=1 << 34)
    _, version = str(manifest.engine.builder).split()
    profiles = manifest.engine.profiles
    library = FakeTensorRT(cuda, manifest.inputs, manifest.outputs, profiles, compute, version)
    monkeypatch.setattr(Library, "load", lambda self: library)
    return mbert.load(bundles[0])


def flat(result: Any) -> NDArray[Any]:
    return np.concatenate(list(result.values())) if isinstance(result, dict) else result


def test_it_gives_what_the_bundle_for_the_cpu_gives(
    bundles: tuple[Path, Path], model: mbert.Model
) -> None:
    generator = np.random.default_rng(0)
    sequences = [generator.integers(4, 500, length) for length in LENGTHS]
    for ids in sequences:
        ids[::7] = MASK
    with mbert.load(bundles[1]) as reference:
        expected = [flat(result) for result in reference.run(sequences)]
        for _ in range(2):  # the second time by captured graphs
            for found, right in zip(map(flat, model.run(sequences)), expected, strict=True):
                assert found.dtype == np.float32
                assert found.shape == right.shape
                scale = np.abs(right).max()
                # float16 against float32: 0.011 at most, seen here; another row is off by about 1.
                assert np.abs(found - right).max() <= 0.03 * scale
