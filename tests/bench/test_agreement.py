"""Programs are compared only if their outputs agree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mbert.bench.agreement import COSINE, Outputs, compare
from mbert.bench.errors import BenchError


def written(folder: Path, name: str, values: list[np.ndarray]) -> Outputs:
    path = folder / name
    path.write_bytes(b"".join(v.astype(np.float32).tobytes() for v in values))
    return Outputs(name, path, [list(v.shape) for v in values])


@pytest.fixture
def values() -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    made = [generator.standard_normal((n, 4)) for n in (3, 5)]
    made[1][2, 1] = -8.0  # the largest
    return made


def test_rounding_passes(tmp_path: Path, values: list[np.ndarray]) -> None:
    close = [v.copy() for v in values]
    close[0][1, 1] += 0.004
    found = compare(written(tmp_path, "a", values), written(tmp_path, "b", close), "W", exact=True)
    assert found.reference == "a"
    assert found.largest_value == 8.0
    assert found.max_abs_error == pytest.approx(0.004, rel=1e-3)
    assert 1 - 1e-6 < found.cosine <= 1


@pytest.mark.parametrize("size", [7, 513, 10_000])
def test_a_cosine_never_exceeds_one(tmp_path: Path, size: int) -> None:
    generator = np.random.default_rng(size)
    for scale in (1e-3, 1.0, 1e3):
        same = [scale * generator.standard_normal((size, 4))]
        one, two = written(tmp_path, "a", same), written(tmp_path, "b", same)
        assert 1 - 1e-12 < compare(one, two, "W", exact=False).cosine <= 1


@pytest.mark.parametrize("wrong", [0.02, -0.02, np.nan, np.inf])
def test_anything_more_is_an_error(tmp_path: Path, values: list[np.ndarray], wrong: float) -> None:
    other = [v.copy() for v in values]
    other[0][2, 3] += wrong
    one, two = written(tmp_path, "a", values), written(tmp_path, "b", other)
    for ours, theirs in ((one, two), (two, one)):
        with pytest.raises(BenchError, match=r"W2: . and . differ by .*at most 0.001"):
            compare(ours, theirs, "W2", exact=True)


def test_swapped_sequences_are_seen(tmp_path: Path, values: list[np.ndarray]) -> None:
    swapped = written(tmp_path, "b", values[::-1])
    with pytest.raises(BenchError, match=r"\[3, 4\], \[5, 4\].*\[5, 4\], \[3, 4\]"):
        compare(written(tmp_path, "a", values), swapped, "W", exact=False)


def test_a_quantised_program_is_held_to_a_cosine(tmp_path: Path, values: list[np.ndarray]) -> None:
    noise = np.random.default_rng(1)
    exact = written(tmp_path, "a", values)
    coarse = [v + 0.2 * noise.standard_normal(v.shape) for v in values]
    found = compare(exact, written(tmp_path, "b", coarse), "W", exact=False)
    flat, other = np.concatenate(values).ravel(), np.concatenate(coarse).ravel()
    cosine = flat @ other / np.linalg.norm(flat) / np.linalg.norm(other)
    assert found.cosine == pytest.approx(cosine, rel=1e-5)
    assert COSINE < cosine < 0.999

    another = [noise.standard_normal(v.shape) for v in values]
    broken = [v.copy() for v in values]
    broken[0][0, 0] = np.nan
    for wrong in (another, broken, [0 * v for v in values]):
        with pytest.raises(BenchError, match=r"at least a cosine of 0\.9"):
            compare(exact, written(tmp_path, "c", wrong), "W", exact=False)
