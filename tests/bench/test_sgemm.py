"""The rate of matrix products that speeds are compared with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mbert.bench import sgemm
from mbert.bench.sgemm import LIBRARIES, Ceiling
from mbert.errors import BackendError


@pytest.mark.parametrize("library", LIBRARIES)
def test_each_library_computes_the_product(library: str) -> None:
    generator = np.random.default_rng(0)
    left = generator.standard_normal((7, 5), np.float32)
    right = generator.standard_normal((5, 3), np.float32)
    product = np.asarray(sgemm._PRODUCTS[library](left, right, 1)()).reshape(7, 3)
    np.testing.assert_allclose(product, left @ right, rtol=1e-4, atol=1e-5)


def test_the_rate_is_the_best_of_the_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter((1.0, 0.5, 4.0, 8.0))
    monkeypatch.setattr(sgemm, "_least_seconds", lambda product, seconds: next(times))
    assert sgemm.rate("numpy", 4, 6, 1, 0) == 2 * 1024 * 4 * 6 / 0.5


def test_a_missing_library(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*arguments: object) -> None:
        raise ImportError(name="torch")

    monkeypatch.setitem(sgemm._PRODUCTS, "torch", missing)
    with pytest.raises(BackendError, match="torch is missing"):
        sgemm.rate("torch", 4, 6, 1, 0)


def test_libraries_that_are_there_are_measured_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sgemm, "LIBRARIES", ("numpy", "onnxruntime"))
    # A module that cannot be imported.
    (tmp_path / "onnxruntime.py").write_text("raise ImportError(name='onnxruntime')\n")
    ceiling = Ceiling(8, 24)
    for _ in range(2):
        sgemm.measure(ceiling, threads=1, seconds=0, scratch=tmp_path)
    assert ceiling.rates.keys() == {"numpy"}
    assert len(ceiling.rates["numpy"]) == 2
    assert ceiling.best == max(ceiling.rates["numpy"]) > 0
