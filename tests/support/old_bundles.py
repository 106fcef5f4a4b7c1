"""Bundles of an earlier commit and what it computed with them (tests/fixtures/bundles)."""

from __future__ import annotations

import platform
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

FIXTURES = Path(__file__).parents[1] / "fixtures" / "bundles"
ARCHIVE = FIXTURES / "bundles.tar.xz"
PRECISIONS = ("fp32", "bf16", "int8")
# Names of the archive's folders: the task, or what is special about the bundle.
SENTENCE, MULTI_VECTOR, RERANKER = "sentence-similarity", "multi-vector", "reranker"
NAMES = (
    "feature-extraction",
    SENTENCE,
    "fill-mask",
    "text-classification",
    RERANKER,
    "token-classification",
    "question-answering",
    "sparse-embedding",
    MULTI_VECTOR,
)
GPU = "built-at-first-load"
VOCABULARY = 320
MASK = 3
QUERY = "Who built the bridge?"
TEXTS = ("The river rose in the night.", "A baker sells bread, and the mill grinds.", "")
# What ONNX Runtime and the C library choose kernels by.
_FEATURES = re.compile(r"avx.*|fma|f16c|amx.*|asimd.*|sve.*|i8mm|bf16")


def sequences() -> list[list[int]]:
    """Return token ids: a lone token, a short sequence, and one that is longer than the window."""
    generator = np.random.default_rng(0)
    lengths = (1, 5, 40)
    ids = [generator.integers(5, VOCABULARY - 2, length).tolist() for length in lengths]
    for sequence in ids:
        sequence[-1] = MASK
    return ids


def answers(model: Any, name: str) -> dict[str, NDArray[Any]]:
    """Compute what is recorded of a bundle: by what it is, float32 arrays."""
    arrays = {}
    for i, output in enumerate(model.run(sequences())):
        outputs = output if isinstance(output, dict) else {"output": output}
        arrays |= {f"{key}-{i}": array for key, array in outputs.items()}
    if name == SENTENCE:
        arrays["plain"] = model.embed(TEXTS)
        arrays["query"] = model.embed(TEXTS, prompt="query")
    elif name == MULTI_VECTOR:
        embed = getattr(model, "embed_multi", None) or model.embed
        for role in ("query", "document"):
            arrays[role] = np.concatenate(embed(TEXTS, role=role))
    elif name == RERANKER:
        ranked = sorted(model.rerank(QUERY, TEXTS), key=lambda result: result.index)
        arrays["scores"] = np.array([result.score for result in ranked], np.float32)
    return arrays


def kernels_of_this_machine() -> dict[str, Any]:
    """Return what decides which kernels compute, beside mbert's own."""
    words = set(Path("/proc/cpuinfo").read_text().split())
    return {
        "machine": platform.machine(),
        "features": sorted(word for word in words if _FEATURES.fullmatch(word)),
        "onnxruntime": onnxruntime.__version__,
        "libc": "-".join(platform.libc_ver()),
    }
