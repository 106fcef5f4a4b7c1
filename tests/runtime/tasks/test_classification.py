"""Labels of texts, held against the transformers pipeline on the same checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from numpy.typing import NDArray
from tokenizers import Tokenizer

import mbert
from mbert.errors import CheckpointError, InputError
from mbert.runtime import LabelScore
from support.checkpoints import SMALL, edit_config, save_model
from support.results import Oracle
from support.text import SENTENCES, add_tokenizer

TEXTS = (
    *SENTENCES[:2],
    "Мельник построил мост. 面包师住在河边。パン屋の息子たち。 강이 밤에 불었다.",
    "👩‍👩‍👧 took 🚲 over the bridge 🌉🇫🇷, naïvely: cafe\u0301 café",
    "הנהר עלה בלילה, and النهر ارتفع في الليل.",
    "tab\tnew\nline\r\nnull\x00bell\x07escape\x1b[0m del\x7f \u200b\u2028\ufeff",
    "[CLS] the miller [SEP] the [MASK] baker [PAD][SEP]",
    "",
    " \t\n  ",
)
LONG = " ".join((" ".join(SENTENCES).split() * 200)[:10_000])


@pytest.fixture(scope="module")
def pipeline(label_checkpoint: Path) -> Iterator[Any]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # small matrices: waiting for other threads takes longer
    yield transformers.pipeline("text-classification", model=str(label_checkpoint), device="cpu")
    torch.set_num_threads(threads)


def same(found: Sequence[LabelScore], expected: Sequence[dict[str, Any]]) -> None:
    assert [one.label for one in found] == [one["label"] for one in expected]
    scores = [one["score"] for one in expected]
    assert [one.score for one in found] == pytest.approx(scores, rel=0, abs=1e-4)


@pytest.mark.parametrize(
    ("problem_type", "function", "top_k"),
    [
        (None, None, None),
        ("regression", None, 1),
        ("multi_label_classification", None, 2),
        ("single_label_classification", None, None),
        ("single_label_classification", "sigmoid", 9),
        ("regression", "softmax", None),
        (None, "none", None),
    ],
)
def test_labels_are_the_pipelines(
    classify_bundle: Path,
    edited: Callable[..., Path],
    pipeline: Any,
    problem_type: str | None,
    function: str | None,
    top_k: int | None,
) -> None:
    pipeline.model.config.problem_type = problem_type
    # transformers takes an empty second text for none when it stands alone.
    pairs = [pair for pair in zip(TEXTS, TEXTS[::-1], strict=True) if pair[1]]
    inputs = [*TEXTS, *pairs, (LONG, SENTENCES[0])]
    with mbert.Classifier.load(
        edited(classify_bundle, problem_type=problem_type), threads=2
    ) as model:
        found = model.classify(inputs, top_k=top_k, function_to_apply=function, overflow="truncate")
    for given, labels in zip(inputs, found, strict=True):
        first, second = (given, None) if isinstance(given, str) else given
        pair = {"text": first, "text_pair": second}
        options = {"max_length": 1024, "truncation": True}
        if function is not None:
            options["function_to_apply"] = function
        same(labels, pipeline(pair, top_k=top_k, **options))


def test_an_unknown_function_is_refused(classifier: mbert.Classifier) -> None:
    with pytest.raises(InputError, match=r"function_to_apply.*relu.*softmax, sigmoid, none"):
        classifier.classify("a", function_to_apply="relu")


def test_multiple_choice_is_refused_with_what_to_do(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = transformers.ModernBertConfig(**{**SMALL, "num_hidden_layers": 2})
    model = transformers.ModernBertForMultipleChoice(config).eval()
    folder = add_tokenizer(save_model(model, tmp_path / "checkpoint"))
    with pytest.raises(CheckpointError, match=r"MultipleChoice|multiple choice"):
        mbert.convert(folder, tmp_path / "bundle")
    # What the message says to do gives what transformers gives.
    edit_config(
        folder,
        architectures=["ModernBertForSequenceClassification"],
        id2label={"0": "choice"},
        label2id={"choice": 0},
    )
    mbert.convert(folder, tmp_path / "bundle")
    question, choices = SENTENCES[0], list(SENTENCES[1:4])
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    encoded = tokenizer([question] * 3, choices, return_tensors="pt", padding=True)
    with torch.inference_mode():
        inputs = {name: encoded[name][None] for name in ("input_ids", "attention_mask")}
        expected = model(**inputs).logits[0].softmax(0).tolist()
    with mbert.Classifier.load(tmp_path / "bundle") as loaded:
        pairs = [(question, choice) for choice in choices]
        found = loaded.classify(pairs, function_to_apply="none")
    logits = torch.tensor([labels[0].score for labels in found])
    assert logits.softmax(0).tolist() == pytest.approx(expected, abs=1e-4)


def test_labels_come_with_softmax_scores_best_first(
    classifier: mbert.Classifier, tokenizer: Tokenizer, labeller: Oracle
) -> None:
    pairs = [(SENTENCES[0], SENTENCES[1]), (SENTENCES[2], "")]
    inputs = [*SENTENCES, *pairs]
    encodings = [
        tokenizer.encode(*text) if isinstance(text, tuple) else tokenizer.encode(text)
        for text in inputs
    ]
    for encoding, found in zip(encodings, classifier.classify(inputs), strict=True):
        logits = labeller(encoding.ids).astype(np.float64)
        scores = np.exp(logits) / np.exp(logits).sum()
        order = np.argsort(-scores)
        names = np.array(["good", "bad", "neither"])
        assert [entry.label for entry in found] == names[order].tolist()
        assert [entry.score for entry in found] == pytest.approx(scores[order].tolist(), abs=1e-5)


@pytest.mark.parametrize(
    ("problem_type", "score"),
    [
        ("multi_label_classification", lambda x: 1 / (1 + np.exp(-x))),
        ("regression", lambda x: x),
        ("single_label_classification", lambda x: np.exp(x) / np.exp(x).sum()),
    ],
)
def test_scores_follow_the_problem_type(
    classify_bundle: Path,
    edited: Callable[..., Path],
    tokenizer: Tokenizer,
    labeller: Oracle,
    problem_type: str,
    score: Callable[[NDArray[np.float64]], NDArray[np.float64]],
) -> None:
    logits = labeller(tokenizer.encode(SENTENCES[3]).ids).astype(np.float64)
    expected = dict(zip(["good", "bad", "neither"], score(logits), strict=True))
    with mbert.Classifier.load(edited(classify_bundle, problem_type=problem_type)) as model:
        found = {entry.label: entry.score for entry in model.classify(SENTENCES[3])}
    assert found == pytest.approx(expected, abs=1e-5)


def test_one_text_gives_its_labels_and_several_a_list(classifier: mbert.Classifier) -> None:
    alone = classifier.classify(SENTENCES[0])
    assert len(alone) == 3
    listed = classifier.classify([SENTENCES[0]])
    assert [[entry.label for entry in labels] for labels in listed] == [
        [entry.label for entry in alone]
    ]
    assert classifier.classify([]) == []


def test_top_k_labels(classifier: mbert.Classifier) -> None:
    whole = classifier.classify(SENTENCES[0])
    assert classifier.classify(SENTENCES[0], top_k=1) == whole[:1]
    assert classifier.classify(SENTENCES[0], top_k=99) == whole
    with pytest.raises(InputError, match=r"top_k.*0"):
        classifier.classify(SENTENCES[0], top_k=0)


def test_too_long_a_pair_is_cut_on_both_sides(classifier: mbert.Classifier) -> None:
    with pytest.raises(InputError, match=r"Text 0 has \d+ tokens"):
        classifier.classify([(LONG, LONG)])
    assert len(classifier.classify([(LONG, LONG)], overflow="truncate")[0]) == 3


def test_a_tuple_of_two_strings_is_ambiguous(classifier: mbert.Classifier) -> None:
    with pytest.raises(InputError, match=r"\[\(a, b\)\].*\[a, b\]"):
        classifier.classify(("a", "b"))
