"""Answers to questions, held against transformers' model and what its pipeline made of the logits.

transformers 5 has no question-answering pipeline any more: :func:`pipeline` does what the one of
4.57 did, one span at a time, on the library's own tokenizer and model.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from click.testing import CliRunner, Result

import mbert
from mbert.cli import main
from mbert.errors import CheckpointError, InputError
from mbert.runtime import Answer
from mbert.runtime.tasks.question_answering import best_spans, paired
from support.checkpoints import load_oracle, make_checkpoint
from support.export_cache import ExportCache
from support.text import CLS, SENTENCES, SEP, add_tokenizer

LIMIT = 1024  # tokens, SMALL's

CONTEXT = " ".join(SENTENCES)

# Question and context.
PAIRS = (
    ("Who built the bridge?", CONTEXT),
    ("Who built the bridge?", SENTENCES[3]),
    (
        "Кто построил мост? 谁？",
        "Мельник построил мост. 面包师住在河边。パン屋の息子たち。 강이 밤에 불었다.",
    ),
    ("🚲?", "👩‍👩‍👧 took 🚲 over the bridge 🌉🇫🇷, naïvely: cafe\u0301 café"),
    ("מי עלה?", "הנהר עלה בלילה, and النهر ارتفع في الليل."),
    ("what\tis\nit", "tab\tnew\nline\r\nnull\x00bell\x07escape\x1b[0m del\x7f \u200b\u2028\ufeff"),
    ("Is [CLS] it [SEP] the [MASK]?", "[CLS] the miller [SEP] the [MASK] baker [PAD][SEP]"),
    ("", "the miller"),
    ("   ", " \t\n  "),
    ("The river?", "The river and the RIVER and the river."),  # equal texts, but for their case
    ("Where is the mill?", CONTEXT * 8),  # more than a window
)


def pipeline(
    tokenizer: Any,
    model: Any,
    question: str,
    context: str,
    *,
    top_k: int = 1,
    max_answer_length: int = 15,
    window_tokens: int = 384,
    stride: int = 128,
    whole_words: bool = True,
    impossible: bool = False,
) -> list[Answer]:
    encoded = tokenizer(
        question, context, truncation="only_second", max_length=window_tokens, stride=stride,
        return_overflowing_tokens=True, return_offsets_mapping=True,
    )  # fmt: skip
    answers: list[dict[str, Any]] = []
    none = 1.0
    for i, ids in enumerate(encoded["input_ids"]):
        with torch.inference_mode():
            output = model(torch.tensor([ids]))
        encoding = encoded.encodings[i]
        own = [row for row, sequence in enumerate(encoding.sequence_ids) if sequence == 1]
        allowed = [row for row, token in enumerate(ids) if token == CLS or row in own]
        probabilities = []
        for logits in (output.start_logits[0], output.end_logits[0]):
            values = torch.full(logits.shape, -torch.inf, dtype=torch.float64)
            values[allowed] = logits[allowed].double()
            probabilities.append(values.softmax(0).tolist())
        start, end = probabilities
        none = min(none, start[0] * end[0])
        spans = [
            (start[s] * end[e], s, e) for s in own for e in own if s <= e < s + max_answer_length
        ]
        candidates = 2 * top_k + 10 if whole_words else top_k
        for score, s, e in sorted(spans, key=lambda span: -span[0])[:candidates]:
            begin, stop = encoding.offsets[s][0], encoding.offsets[e][1]
            if whole_words:
                begin = encoding.word_to_chars(encoding.token_to_word(s), 1)[0]
                stop = encoding.word_to_chars(encoding.token_to_word(e), 1)[1]
            text = context[begin:stop]
            same = [one for one in answers if one["text"].lower() == text.lower()]
            if same:
                same[0]["score"] += score
            else:
                answers.append({"score": score, "start": begin, "end": stop, "text": text})
    if impossible:
        answers.append({"score": none, "start": 0, "end": 0, "text": ""})
    answers.sort(key=lambda one: -one["score"])
    return [Answer(**one) for one in answers[:top_k]]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("answer") / "checkpoint"
    return add_tokenizer(make_checkpoint(folder, "question-answering"))


@pytest.fixture(scope="module")
def bundle(checkpoint: Path, exports: ExportCache) -> Path:
    return exports(checkpoint)


@pytest.fixture(scope="module")
def reader(bundle: Path) -> Iterator[mbert.QuestionAnswerer]:
    with mbert.QuestionAnswerer.load(bundle, threads=2) as model:
        yield model


@pytest.fixture(scope="module")
def oracle(checkpoint: Path) -> Iterator[tuple[Any, Any]]:
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # small matrices: waiting for other threads takes longer
    yield tokenizer, load_oracle(checkpoint, "question-answering")
    torch.set_num_threads(threads)


def same(found: Sequence[Answer], expected: Sequence[Answer]) -> None:
    assert [one.score for one in found] == pytest.approx([one.score for one in expected], abs=1e-4)
    for one, right in zip(found, expected, strict=True):
        assert (one.start, one.end, one.text) == (right.start, right.end, right.text)


# ---- as the pipeline


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"top_k": 5, "impossible": True},
        {"top_k": 3, "whole_words": False, "max_answer_length": 40},
        {"top_k": 4, "window_tokens": 64, "stride": 20},
        {"top_k": 2, "window_tokens": 1024, "stride": 0, "max_answer_length": 1},
    ],
    ids=["default", "impossible", "long answers", "short windows", "long windows"],
)
def test_answers_are_the_pipelines(
    reader: mbert.QuestionAnswerer, oracle: tuple[Any, Any], options: dict[str, Any]
) -> None:
    questions, contexts = zip(*PAIRS, strict=True)
    found = reader.answer(questions, contexts, **options)
    for pair, answers in zip(PAIRS, found, strict=True):
        same(answers, pipeline(*oracle, *pair, **options))
    assert all(
        context[one.start : one.end] == one.text
        for (_, context), answers in zip(PAIRS, found, strict=True)
        for one in answers
    )


def test_ten_thousand_words(reader: mbert.QuestionAnswerer, oracle: tuple[Any, Any]) -> None:
    context = " ".join((CONTEXT.split() * 200)[:10_000])
    question = "Who swims in the river?"
    same(
        reader.answer(question, context, top_k=3, window_tokens=1024),
        pipeline(*oracle, question, context, top_k=3, window_tokens=1024),
    )


def test_windows_are_packed_together(
    reader: mbert.QuestionAnswerer, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    session = reader.engine._current()

    class Counting:
        def run(self, feeds: Any) -> Any:
            calls.append(feeds)
            return session.run(feeds)

    monkeypatch.setattr(reader.engine, "_session", Counting())
    reader.answer(["Who?", "What is it?", "Where is the mill?"], CONTEXT, window_tokens=64)
    (feeds,) = calls
    assert feeds["cu_seqlens"].size - 1 > 8
    assert feeds["cu_seqlens"][-1] == feeds["input_ids"].size


def test_a_question_that_leaves_no_room_is_refused(reader: mbert.QuestionAnswerer) -> None:
    question = "Who swims in the river? " * 20
    with pytest.raises(InputError, match=r"32 tokens.*question"):
        reader.answer(question, CONTEXT, overflow="truncate", window_tokens=32)


def test_a_question_on_its_own_or_many(reader: mbert.QuestionAnswerer) -> None:
    question, context = PAIRS[0]
    alone = reader.answer(question, context, top_k=2)
    assert all(isinstance(one, Answer) for one in alone)
    for found in (
        reader.answer([question], [context], top_k=2),
        reader.answer([question], context, top_k=2),
        reader.answer(question, [context], top_k=2),
    ):
        assert len(found) == 1
        same(found[0], alone)
    assert reader.answer([], []) == reader.answer([], context) == []
    assert len(reader.answer(["a", "b"], context)) == 2


def test_a_context_without_tokens_has_no_answer(reader: mbert.QuestionAnswerer) -> None:
    assert reader.answer("Who?", "") == []
    (none,) = reader.answer("Who?", "", impossible=True)
    assert (none.start, none.end, none.text) == (0, 0, "")
    assert none.score == pytest.approx(1)


def test_spans_are_the_most_probable() -> None:
    generator = np.random.default_rng(0)
    for count, longest, top_k in ((7, 3, 4), (5, 9, 100), (1, 1, 1), (0, 4, 2)):
        start, end = generator.random((2, count))
        every = [
            (s, e, start[s] * end[e])
            for s in range(count)
            for e in range(s, min(count, s + longest))
        ]
        every.sort(key=lambda span: -span[2])
        assert best_spans(start, end, top_k, longest) == every[:top_k]


def test_run_gives_both_outputs_by_name(reader: mbert.QuestionAnswerer) -> None:
    sequences = [[CLS, 9, SEP], [CLS, SEP]]
    results = reader.run(sequences)
    assert [{name: values.shape for name, values in one.items()} for one in results] == [
        {"start_logits": (3,), "end_logits": (3,)},
        {"start_logits": (2,), "end_logits": (2,)},
    ]
    packed = reader.run_packed([CLS, 9, SEP, CLS, SEP], [0, 3, 5])
    for name, values in packed.items():
        np.testing.assert_allclose(
            values, np.concatenate([one[name] for one in results]), atol=1e-5
        )
    reader.warm_up()


# ---- what is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_k": 0}, "top_k.*0"),
        ({"max_answer_length": 0}, "max_answer_length.*0"),
        ({"window_tokens": 0}, "window_tokens.*0"),
        ({"window_tokens": 1025}, "window_tokens.*1025.*1024"),
        ({"stride": -1}, "stride.*-1"),
        ({"stride": 3, "overflow": "truncate"}, "stride.*3.*truncate"),
        ({"overflow": "cut"}, "overflow.*cut.*error, truncate, window"),
        ({"window_tokens": 20, "stride": 10}, r"Question 0 .*\d+ .*20 tokens.*10"),
        ({"window_tokens": 40, "overflow": "error"}, r"Question 0 .*\d+ tokens.*40"),
    ],
)
def test_options_out_of_range_are_refused(
    reader: mbert.QuestionAnswerer, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        reader.answer("Who built the bridge over there?", CONTEXT, **options)


def test_questions_and_contexts_may_come_from_iterators() -> None:
    pairs = [("a", "c"), ("b", "d")]
    assert paired(iter("ab"), (text for text in "cd")) == pairs  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"context.*NoneType"):
        paired("a", None)  # type: ignore[arg-type]


def test_what_does_not_go_together_is_refused(reader: mbert.QuestionAnswerer) -> None:
    with pytest.raises(InputError, match=r"2 questions.*1 contexts"):
        reader.answer(["a", "b"], ["c"])
    with pytest.raises(InputError, match=r"Text 1 .*tuple"):
        reader.answer(["a", 1], "c")  # type: ignore[list-item]
    with pytest.raises(InputError, match=r"Text 0 .*Unicode"):
        reader.answer("a", "lone \ud800 surrogate")


def test_a_context_that_comes_first_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    """transformers orders question and context by the tokenizer's side of padding."""
    folder = make_checkpoint(tmp_path / "checkpoint", "question-answering", num_hidden_layers=1)
    add_tokenizer(folder)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "padding_side": "left"}))
    with pytest.raises(CheckpointError, match=r"padding_side.*left"):
        mbert.convert(folder, tmp_path / "bundle")


# ---- mbert run


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["run", *map(str, arguments)])


def test_answers_as_json(bundle: Path, reader: mbert.QuestionAnswerer) -> None:
    question, context = PAIRS[0]
    arguments = ("--question", question, "--text", context, "--text", "", "--top-k", 2)
    result = run(bundle, "--json", *arguments)
    assert result.exit_code == 0, result.output
    first, second = map(json.loads, result.stdout.splitlines())
    assert second == {"text": "", "answers": []}
    same([Answer(**one) for one in first["answers"]], reader.answer(question, context, top_k=2))


def test_answers_are_shown_one_a_line(bundle: Path, reader: mbert.QuestionAnswerer) -> None:
    question, context = PAIRS[0]
    result = run(bundle, "--question", question, "--text", context, "--text", "")
    assert result.exit_code == 0, result.output
    (best,) = reader.answer(question, context)
    _, shown, *rest = result.stdout.splitlines()
    assert shown.split()[:2] == [f"{best.score:.4f}", f"{best.start}-{best.end}"]
    assert rest == ["", "  no answer"]


def test_a_question_is_needed_and_belongs_to_its_task(bundle: Path, embed_bundle: Path) -> None:
    for folder, option, named in (
        (bundle, (), ("--question", "question-answering")),
        (embed_bundle, ("--question", "Who?"), ("--question", "feature-extraction")),
        (bundle, ("--question", "Who?", "--pooling", "cls"), ("--pooling", "question-answering")),
    ):
        result = run(folder, *option, "--text", "x")
        assert result.exit_code == 2
        assert all(name in result.output for name in named)
