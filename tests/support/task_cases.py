"""A case for each method that takes several inputs, for the tests of every task.

The bundles are those of :mod:`support.old_bundles`, which need no export.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mbert.runtime.tasks.base import Operation
from mbert.runtime.tasks.classification import Classify
from mbert.runtime.tasks.embedding import Embed
from mbert.runtime.tasks.fill_mask import FillMask
from mbert.runtime.tasks.multi_vector import ROLES, EmbedMulti
from mbert.runtime.tasks.question_answering import AnswerQuestions
from mbert.runtime.tasks.sparse_embedding import EmbedSparse
from mbert.runtime.tasks.token_classification import Tag

from .old_bundles import ARCHIVE, QUERY, TEXTS
from .text import SENTENCES

# Beyond the limit of every bundle, 128 tokens at most.
LONG = " ".join(SENTENCES)


@dataclass(frozen=True)
class TaskCase:
    """A method of a model's class.

    Attributes:
        name: of the case.
        bundle: name in the archive.
        model: name of the class.
        method: its name; the iterator's ends in ``_iter``.
        operation: the class that the method stands on.
        single: turns a text into an input.
        options: arguments that the method needs beside inputs.
        overflows: values of ``overflow`` that it takes; the first is the default.
    """

    name: str
    bundle: str
    model: str
    method: str
    operation: type[Operation[Any, Any]]
    single: Callable[[str], Any] = str
    options: dict[str, Any] = field(default_factory=dict)
    overflows: tuple[str, ...] = ("error", "truncate")

    def inputs(self, texts: Iterable[str] = (*SENTENCES, "", *TEXTS)) -> list[Any]:
        """Return inputs of different lengths."""
        return [self.single(text) for text in texts]

    def call(self, model: Any, inputs: Iterable[Any], **options: Any) -> list[Any]:
        """Return the method's results as a list."""
        method = getattr(model, self.method)
        chosen = {**self.options, **options}
        if self.method == "answer":
            questions, contexts = zip(*inputs, strict=True) if inputs else ((), ())
            return list(method(questions, contexts, **chosen))
        return list(method(inputs, **chosen))

    def iterate(self, model: Any, inputs: Iterable[Any], **options: Any) -> Any:
        """Return the method's iterator."""
        return getattr(model, f"{self.method}_iter")(inputs, **{**self.options, **options})


def _masked(text: str) -> str:
    return f"The [MASK]. {text}"


def _question(text: str) -> tuple[str, str]:
    return QUERY, text


def _few_tokens(text: str) -> str:
    """Shorten a text to a query's 24 tokens, unless it is to be too long."""
    return text[:24] if len(text) < 100 else text


CASES = {
    case.name: case
    for case in (
        TaskCase(
            "feature-extraction",
            "feature-extraction",
            "Embedder",
            "embed",
            Embed,
            overflows=("error", "truncate", "window"),
        ),
        TaskCase(
            "sentence-similarity",
            "sentence-similarity",
            "Embedder",
            "embed",
            Embed,
            options={"prompt": "query"},
            overflows=("error", "truncate", "window"),
        ),
        TaskCase("fill-mask", "fill-mask", "MaskFiller", "fill_mask", FillMask, _masked),
        TaskCase("text-classification", "text-classification", "Classifier", "classify", Classify),
        TaskCase("reranker", "reranker", "Reranker", "classify", Classify),
        TaskCase(
            "token-classification",
            "token-classification",
            "TokenClassifier",
            "tag",
            Tag,
            options={"aggregation": "average"},
            overflows=("error", "truncate", "window"),
        ),
        TaskCase(
            "question-answering",
            "question-answering",
            "QuestionAnswerer",
            "answer",
            AnswerQuestions,
            _question,
            options={"top_k": 2},
            overflows=("window", "truncate", "error"),
        ),
        TaskCase("sparse-embedding", "sparse-embedding", "SparseEmbedder", "embed", EmbedSparse),
        *(
            TaskCase(
                f"multi-vector {role}",
                "multi-vector",
                "MultiVectorEmbedder",
                "embed",
                EmbedMulti,
                _few_tokens,
                options={"role": role},
            )
            for role in ROLES
        ),
    )
}


def extract_bundles(folder: Path) -> dict[str, Path]:
    """Extract the float32 bundles, by name."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return {case.bundle: folder / f"{case.bundle}-fp32" for case in CASES.values()}


def assert_same(found: Any, expected: Any, tolerance: float = 2e-5) -> None:
    """Compare results: numbers to ``tolerance`` of the largest, the rest exactly."""
    if is_dataclass(expected):
        assert type(found) is type(expected)
        found, expected = asdict(found), asdict(expected)  # type: ignore[call-overload]
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            assert_same(found[key], value, tolerance)
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other, tolerance)
    elif isinstance(expected, np.ndarray | float):
        largest = np.abs(expected).max(initial=0.0)
        assert np.shape(found) == np.shape(expected)
        assert np.abs(found - expected).max(initial=0.0) <= tolerance * max(largest, 1e-3)
    else:
        assert found == expected
