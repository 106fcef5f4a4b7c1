"""Quantised vectors and similarities against sentence-transformers' own functions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sentence_transformers import SimilarityFunction
from sentence_transformers.util import quantize_embeddings

from mbert.errors import InputError
from mbert.runtime.quantization import DTYPES, quantized, resolve_ranges
from mbert.runtime.similarity import SIMILARITIES, pairwise, similarity

GENERATOR = np.random.default_rng(0)
VECTORS = GENERATOR.standard_normal((120, 20)).astype(np.float32)
VECTORS[:, 3] = 0.5  # a dimension without a range
VECTORS[5] = 0
OTHERS = 3 * GENERATOR.standard_normal((7, 20)).astype(np.float32)


@pytest.mark.parametrize("output", DTYPES)
def test_quantised_as_the_library_does(output: str) -> None:
    assert np.array_equal(quantized(VECTORS, output, None), quantize_embeddings(VECTORS, output))


@pytest.mark.parametrize("output", ["int8", "uint8"])
def test_values_beyond_the_ranges_take_the_last_step(output: str) -> None:
    ranges = resolve_ranges(output, None, VECTORS)
    exact = quantize_embeddings(OTHERS, output, calibration_embeddings=VECTORS)
    assert np.array_equal(quantized(OTHERS, output, ranges), exact)
    info = np.iinfo(output)
    assert {info.min, info.max} <= set(exact.ravel().tolist())
    assert ranges is not None
    assert np.array_equal(quantized(OTHERS, output, resolve_ranges(output, ranges, None)), exact)


@pytest.mark.parametrize("output", DTYPES)
def test_no_vectors_give_no_rows(output: str) -> None:
    none = VECTORS[:0]
    exact = quantize_embeddings(none, output)
    found = quantized(none, output, None)
    assert (found.shape, found.dtype) == (exact.shape, exact.dtype)


@pytest.mark.parametrize(
    ("output", "ranges", "calibration", "message"),
    [
        ("int4", None, None, "dtype.*int4"),
        ("int8", VECTORS[:2], VECTORS, "ranges.*calibration"),
        ("binary", VECTORS[:2], None, "binary.*ranges"),
        ("int8", VECTORS[:3], None, r"ranges.*\[3, 20\].*\[2, dim\]"),
        ("int8", None, VECTORS[0], r"calibration.*\[20\].*\[n, dim\]"),
        ("int8", None, VECTORS[:0], r"calibration.*\[0, 20\]"),
        ("int8", [[0, 2], [1, 1]], None, "ranges.*dimension 1 .*2.*1"),
        ("int8", [["a"], ["b"]], None, "ranges.*array of numbers"),
        ("int8", [[0.0], [np.nan]], None, "ranges.*finite"),
    ],
)
def test_ranges_that_do_not_fit_are_refused(
    output: str, ranges: Any, calibration: Any, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        resolve_ranges(output, ranges, calibration)


def test_a_single_vector_and_ranges_of_another_width_are_refused() -> None:
    with pytest.raises(InputError, match="range"):
        quantized(VECTORS[:1], "int8", None)
    with pytest.raises(InputError, match=r"8.*20"):
        quantized(VECTORS, "int8", VECTORS[:2, :8])


# ---- similarity


@pytest.mark.parametrize("name", SIMILARITIES)
def test_similarities_are_the_librarys(name: str) -> None:
    exact = SimilarityFunction.to_similarity_fn(name)
    for a, b in ((VECTORS, OTHERS), (VECTORS[0], OTHERS), (VECTORS[:2].tolist(), OTHERS[0])):
        found = similarity(a, b, name)
        expected = exact(np.asarray(a, np.float32), np.asarray(b, np.float32)).numpy()
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() < 1e-4


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (VECTORS, OTHERS[:, :8], "20.*8"),
        (VECTORS[None], OTHERS, r"\[1, 120, 20\]"),
        ("a text", OTHERS, "array of numbers"),
        ([[1, 2], [3]], OTHERS, "array of numbers"),
    ],
)
def test_vectors_that_cannot_be_compared_are_refused(a: Any, b: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        similarity(a, b, "cosine")


@pytest.mark.parametrize("name", SIMILARITIES)
def test_similarities_of_pairs_are_the_librarys(name: str) -> None:
    exact = SimilarityFunction.to_similarity_pairwise_fn(name)
    found = pairwise(VECTORS[:7], OTHERS, name)
    assert np.abs(found - exact(VECTORS[:7], OTHERS).numpy()).max() < 1e-4
    with pytest.raises(InputError, match=r"120.*7"):
        pairwise(VECTORS, OTHERS, name)
