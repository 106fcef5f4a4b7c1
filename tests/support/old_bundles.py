"""Bundles and results of an earlier commit (tests/fixtures/bundles)."""

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
# Names of the archive's folders: the task, or the kind of bundle.
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
# Processor features by which ONNX Runtime and the C library choose kernels.
_FEATURES = re.compile(r"avx.*|fma|f16c|amx.*|asimd.*|sve.*|i8mm|bf16")


def sequences() -> list[list[int]]:
    """Return token ids: one token, a short sequence, one longer than the window."""
    generator = np.random.default_rng(0)
    lengths = (1, 5, 40)
    ids = [generator.integers(5, VOCABULARY - 2, length).tolist() for length in lengths]
    for sequence in ids:
        sequence[-1] = MASK
    return ids


def answers(model: Any, name: str) -> dict[str, NDArray[Any]]:
    """Compute the recorded results of a bundle: float32 arrays by name."""
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
    """Return the versions and features that choose kernels other than mbert's."""
    words = set(Path("/proc/cpuinfo").read_text().split())
    return {
        "machine": platform.machine(),
        "features": sorted(word for word in words if _FEATURES.fullmatch(word)),
        "onnxruntime": onnxruntime.__version__,
        "libc": "-".join(platform.libc_ver()),
    }
