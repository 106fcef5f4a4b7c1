"""Zero-shot classification against the transformers pipeline, with an NLI-shaped checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import transformers

import mbert
from mbert.errors import InputError
from support.checkpoints import make_checkpoint
from support.export_cache import ExportCache
from support.text import SENTENCES, add_tokenizer

# Orders of the labels as NLI checkpoints have them: each gives another place to contradiction.
NLI = {
    "entailment first": ("entailment", "neutral", "contradiction"),
    "entailment last": ("CONTRADICTION", "NEUTRAL", "ENTAILMENT"),
    "two labels": ("not_entailment", "entailment"),
}
LABELS = ["a river", "bread", "the sun and the rain", "a bridge"]


@pytest.fixture(scope="module", params=NLI)
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nli") / "checkpoint"
    labels = dict(enumerate(NLI[request.param]))
    make_checkpoint(
        folder,
        "text-classification",
        id2label=labels,
        label2id={label: i for i, label in labels.items()},
        num_hidden_layers=2,
    )
    return add_tokenizer(folder)


@pytest.fixture(scope="module")
def model(checkpoint: Path, exports: ExportCache) -> Iterator[mbert.Classifier]:
    with mbert.Classifier.load(exports(checkpoint), threads=2) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def pipeline(checkpoint: Path) -> Any:
    return transformers.pipeline("zero-shot-classification", str(checkpoint), device="cpu")


@pytest.mark.parametrize("labels", [LABELS, LABELS[:2], LABELS[:1]])
@pytest.mark.parametrize("multi_label", [False, True])
def test_labels_and_scores_are_the_pipelines(
    model: mbert.Classifier, pipeline: Any, labels: list[str], multi_label: bool
) -> None:
    texts = list(SENTENCES)
    expected = pipeline(texts, labels, multi_label=multi_label)
    found = model.zero_shot(texts, labels, multi_label=multi_label)
    for one, other in zip(found, expected, strict=True):
        assert [entry.label for entry in one] == other["labels"]
        assert [entry.score for entry in one] == pytest.approx(other["scores"], abs=1e-4)


def test_template_and_single_text(model: mbert.Classifier, pipeline: Any) -> None:
    template = "It says something of {}, does it?"
    expected = pipeline(SENTENCES[0], LABELS, hypothesis_template=template)
    found = model.zero_shot(SENTENCES[0], LABELS, hypothesis_template=template)
    assert [entry.label for entry in found] == expected["labels"]
    assert [entry.score for entry in found] == pytest.approx(expected["scores"], abs=1e-4)


def test_truncation_shortens_the_text_and_keeps_the_hypothesis(
    model: mbert.Classifier, pipeline: Any
) -> None:
    text = " ".join(SENTENCES * 40)
    assert model.count_tokens(text) > model.info.limits.max_sequence_length
    pipeline.tokenizer.model_max_length = model.info.limits.max_sequence_length
    expected = pipeline(text, LABELS)
    found = model.zero_shot(text, LABELS, overflow="truncate")
    assert [entry.label for entry in found] == expected["labels"]
    assert [entry.score for entry in found] == pytest.approx(expected["scores"], abs=1e-4)
    with pytest.raises(InputError, match=r"Text 1 .*1024"):
        model.zero_shot(["short", text], LABELS)


def test_a_hypothesis_that_leaves_no_room_is_refused(model: mbert.Classifier) -> None:
    label = " ".join(SENTENCES * 40)
    with pytest.raises(InputError, match=r"1024 tokens.*hypothesis"):
        model.zero_shot("a text", ["bread", label], overflow="truncate")


def test_iterator_equals_the_method(model: mbert.Classifier) -> None:
    texts = list(SENTENCES)
    expected = model.zero_shot(texts, LABELS)
    found = list(model.zero_shot_iter(iter(texts), LABELS))
    for one, other in zip(found, expected, strict=True):
        assert [entry.label for entry in one] == [entry.label for entry in other]
        scores = [entry.score for entry in other]
        assert [entry.score for entry in one] == pytest.approx(scores, abs=2e-5)


@pytest.mark.parametrize(
    ("labels", "options", "named"),
    [
        ([], {}, r"labels.*\[\]"),
        ("a, b", {}, r"labels.*str"),
        ([1], {}, r"labels.*1"),
        (LABELS, {"hypothesis_template": "no place"}, r"hypothesis_template.*no place"),
        (LABELS, {"overflow": "window"}, r"overflow.*window"),
    ],
)
def test_bad_options(
    model: mbert.Classifier, labels: Any, options: dict[str, Any], named: str
) -> None:
    with pytest.raises(InputError, match=named):
        model.zero_shot("a text", labels, **options)
    with pytest.raises(InputError, match=r"Text 1 .*tuple"):
        model.zero_shot(["a text", ("a", "pair")], LABELS)  # type: ignore[list-item]


def test_labels_without_entailment_are_named(tmp_path: Path) -> None:
    labels = {0: "good", 1: "bad"}
    folder = make_checkpoint(
        tmp_path / "checkpoint", "text-classification", id2label=labels, num_hidden_layers=1
    )
    mbert.convert(add_tokenizer(folder), tmp_path / "bundle")
    with (
        mbert.Classifier.load(tmp_path / "bundle") as other,
        pytest.raises(InputError, match=r"good, bad.*entail"),
    ):
        other.zero_shot("a text", LABELS)
