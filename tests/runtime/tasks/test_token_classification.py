"""Entities of texts, held against the transformers pipeline on the same checkpoint."""

from __future__ import annotations

import functools
import json
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from click.testing import CliRunner, Result
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

import mbert
from mbert.cli import main
from mbert.errors import InputError
from mbert.runtime.tasks.token_classification import AGGREGATIONS, Entity, entities
from mbert.runtime.tokenization import TokenizedText
from support.checkpoints import make_checkpoint
from support.export_cache import ExportCache
from support.text import CLS, SENTENCES, SEP, TEXTS, UNK, add_tokenizer

TINY = Path(__file__).parents[3] / "examples" / "tiny"

LABELS = {0: "O", 1: "B-PER", 2: "I-PER", 3: "B-LOC", 4: "I-LOC"}

LIMIT = 1024  # tokens, SMALL's


def _checkpoint(folder: Path, **config: Any) -> Path:
    ids = {label: i for i, label in LABELS.items()}
    return make_checkpoint(folder, "token-classification", id2label=LABELS, label2id=ids, **config)


def _wordpiece(folder: Path) -> Path:
    """A tokenizer that marks continuing tokens and knows few words."""
    words = ["the", "river", "mill", "ba", "b", "x", "and", "in", ",", ".", "τ", "面", "包"]
    pieces = ["##ker", "##er", "##s", "##x", "##in"]
    special = ["[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]"]
    vocabulary = {token: i for i, token in enumerate([*special, *words, *pieces])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, lstrip=token == "[MASK]") for token in special]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {f"{token[1:-1].lower()}_token": token for token in special}
    (folder / "tokenizer_config.json").write_text(json.dumps(names), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return add_tokenizer(_checkpoint(tmp_path_factory.mktemp("tag") / "checkpoint"))


@pytest.fixture(scope="module")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the tokenizer of examples/tiny, which normalises texts."""
    folder = _checkpoint(tmp_path_factory.mktemp("tag") / "tiny", vocab_size=4096, pad_token_id=3)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(TINY / name, folder)
    return folder


@pytest.fixture(scope="module")
def word_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _wordpiece(_checkpoint(tmp_path_factory.mktemp("tag") / "words"))


@pytest.fixture(scope="module")
def bundle(checkpoint: Path, exports: ExportCache) -> Path:
    return exports(checkpoint)


@pytest.fixture(scope="module")
def tiny_bundle(tiny_checkpoint: Path, exports: ExportCache) -> Path:
    return exports(tiny_checkpoint)


@pytest.fixture(scope="module")
def word_bundle(word_checkpoint: Path, exports: ExportCache) -> Path:
    return exports(word_checkpoint)


@pytest.fixture(scope="module")
def tagger(bundle: Path) -> Iterator[mbert.TokenClassifier]:
    with mbert.TokenClassifier.load(bundle, threads=2) as model:
        yield model


@functools.cache
def _pipeline(checkpoint: Path, **names: str) -> Any:
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(checkpoint / "tokenizer.json"), model_max_length=LIMIT, **names
    )
    return transformers.pipeline(
        "token-classification", model=str(checkpoint), tokenizer=tokenizer, device="cpu"
    )


def _expected(
    checkpoint: Path,
    texts: Sequence[str],
    aggregation: str,
    options: dict[str, Any] | None = None,
    **names: str,
) -> list[list[Entity]]:
    """What the pipeline gives; ``names``: special tokens that its tokenizer knows by role."""
    pipeline = _pipeline(checkpoint, **names)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # small matrices: waiting for other threads takes longer
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Tokenizer does not support real words")
        found = pipeline(list(texts), aggregation_strategy=aggregation, **(options or {}))
    torch.set_num_threads(threads)
    key = "entity" if aggregation == "none" else "entity_group"
    return [
        [
            Entity(e[key], float(e["score"]), e["start"], e["end"], text[e["start"] : e["end"]])
            for e in one
        ]
        for text, one in zip(texts, found, strict=True)
    ]


def _same(found: Sequence[Sequence[Entity]], expected: Sequence[Sequence[Entity]]) -> None:
    def plain(lists: Sequence[Sequence[Entity]]) -> list[list[tuple[str, int, int, str]]]:
        return [[(e.label, e.start, e.end, e.text) for e in one] for one in lists]

    assert plain(found) == plain(expected)
    scores = [e.score for one in found for e in one]
    assert scores == pytest.approx([e.score for one in expected for e in one], rel=0, abs=1e-4)


# ---- as the pipeline


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_entities_are_the_pipelines(
    tagger: mbert.TokenClassifier, checkpoint: Path, aggregation: str
) -> None:
    expected = _expected(checkpoint, TEXTS, aggregation)
    assert {e.label.removeprefix("B-").removeprefix("I-") for one in expected for e in one} == {
        "PER",
        "LOC",
    }
    _same(tagger.tag(TEXTS, aggregation=aggregation), expected)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_entities_are_the_pipelines_where_texts_are_normalised(
    tiny_bundle: Path, tiny_checkpoint: Path, aggregation: str
) -> None:
    with mbert.TokenClassifier.load(tiny_bundle, threads=2) as model:
        found = model.tag(TEXTS, aggregation=aggregation)
    _same(found, _expected(tiny_checkpoint, TEXTS, aggregation))


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_entities_are_the_pipelines_where_the_tokenizer_marks_words(
    word_bundle: Path,
    word_checkpoint: Path,
    edited: Callable[..., Path],
    aggregation: str,
) -> None:
    texts = ["the bakers, rivers and millx bin ττ", "面包 the unknownword.", *TEXTS]
    for roles, names in (({}, {}), ({"unk": UNK}, {"unk_token": "[UNK]"})):
        special = {"cls": CLS, "sep": SEP, **roles}
        copied = edited(word_bundle, special_tokens=special)
        with mbert.TokenClassifier.load(copied, threads=2) as model:
            found = model.tag(texts, aggregation=aggregation)
        shutil.rmtree(copied)
        _same(found, _expected(word_checkpoint, texts, aggregation, **names))


def test_the_strategies_differ(tagger: mbert.TokenClassifier) -> None:
    """Or agreement with the pipeline would show less than it seems to."""
    found = [str(tagger.tag(TEXTS, aggregation=aggregation)) for aggregation in AGGREGATIONS]
    assert len(set(found)) == len(AGGREGATIONS)


def test_an_unknown_token_starts_a_word(
    bundle: Path, checkpoint: Path, edited: Callable[..., Path]
) -> None:
    texts = ["the mill[UNK]er and the[UNK][UNK]baker", "[UNK]", "a[UNK]b"]
    special = {"cls": CLS, "sep": SEP, "unk": UNK}
    with mbert.TokenClassifier.load(edited(bundle, special_tokens=special), threads=2) as model:
        for aggregation in AGGREGATIONS:
            expected = _expected(checkpoint, texts, aggregation, unk_token="[UNK]")
            _same(model.tag(texts, aggregation=aggregation), expected)


def test_special_tokens_that_a_user_writes_are_text(tagger: mbert.TokenClassifier) -> None:
    text = "[CLS] the miller [SEP]" * 20
    places = {(e.start, e.end) for e in tagger.tag(text, aggregation="none")}
    assert any(text[start:end] in ("[CLS]", "[SEP]") for start, end in places)
    assert (0, 0) not in places  # the ones around the text


def test_too_long_a_text_is_refused_or_cut(tagger: mbert.TokenClassifier, checkpoint: Path) -> None:
    texts = ["short", "the river " * LIMIT]
    with pytest.raises(InputError, match=r"Text 1 has \d+ tokens.*1024"):
        tagger.tag(texts)
    for aggregation in AGGREGATIONS:
        found = tagger.tag(texts, aggregation=aggregation, overflow="truncate")
        _same(found, _expected(checkpoint, texts, aggregation))


def test_more_texts_than_fit_into_a_batch(tagger: mbert.TokenClassifier, checkpoint: Path) -> None:
    found = tagger.tag(TEXTS * 20, batch_tokens=100)
    _same(found, _expected(checkpoint, TEXTS, "simple") * 20)


@pytest.mark.parametrize(("aggregation", "stride"), [("simple", 0), ("average", 100)])
def test_long_texts_in_windows(
    tagger: mbert.TokenClassifier, checkpoint: Path, aggregation: str, stride: int
) -> None:
    """Ten thousand words, and texts that fit."""
    texts = [" ".join((" ".join(SENTENCES).split() * 200)[:10_000]), SENTENCES[0], ""]
    found = tagger.tag(texts, aggregation=aggregation, overflow="window", stride=stride)
    # It pads windows.
    expected = _expected(checkpoint, texts, aggregation, {"stride": stride}, pad_token="[PAD]")
    _same(found, expected)


@pytest.mark.parametrize("ignored", [(), ("PER", "O"), ("B-LOC", "I-LOC")])
@pytest.mark.parametrize("aggregation", ["none", "simple"])
def test_labels_that_are_ignored(
    tagger: mbert.TokenClassifier, checkpoint: Path, aggregation: str, ignored: tuple[str, ...]
) -> None:
    found = tagger.tag(SENTENCES, aggregation=aggregation, ignore_labels=ignored)
    options = {"ignore_labels": list(ignored)}
    _same(found, _expected(checkpoint, SENTENCES, aggregation, options))


# ---- what it gives


def test_one_text_gives_its_entities_and_several_a_list(tagger: mbert.TokenClassifier) -> None:
    alone = tagger.tag(SENTENCES[0])
    _same([alone], tagger.tag([SENTENCES[0]]))
    assert all(isinstance(entity, Entity) for entity in alone)
    assert tagger.tag(SENTENCES[0]) == tagger.tag(SENTENCES[0], aggregation="simple")
    assert tagger.tag([]) == []
    assert tagger.tag("") == []
    assert tagger.tag(["", ""]) == [[], []]


def test_run_gives_a_row_for_each_token(tagger: mbert.TokenClassifier) -> None:
    results = tagger.run([[CLS, 9, SEP], [CLS, SEP]])
    assert [rows.shape for rows in results] == [(3, 5), (2, 5)]
    packed = tagger.run_packed([CLS, 9, SEP, CLS, SEP], [0, 3, 5])
    np.testing.assert_allclose(packed, np.concatenate(results), atol=1e-5)
    tagger.warm_up()


def _labelled(labels: Sequence[str], sure: float = 5.0) -> tuple[Any, TokenizedText, list[str]]:
    """One-letter words, each with its label."""
    names = sorted(set(labels))
    count = len(labels)
    logits = np.zeros((count, len(names)), np.float32)
    logits[np.arange(count), [names.index(label) for label in labels]] = sure
    starts = 2 * np.arange(count)
    text = " ".join("abcdefgh"[:count])
    outside = np.zeros(count, bool)
    ids = np.arange(count, dtype=np.int32)
    places = np.stack([starts, starts + 1], 1)
    return logits, TokenizedText(text, ids, places, outside, outside), names


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["B-A", "I-A", "O", "I-A"], [("A", "a b"), ("A", "d")]),
        (["B-A", "B-A", "I-A"], [("A", "a"), ("A", "b c")]),
        (["I-A", "I-B", "B-B"], [("A", "a"), ("B", "b"), ("B", "c")]),
        (["A", "A", "I-A", "B-A"], [("A", "a b c"), ("A", "d")]),
        (["B-A-B", "I-A-B"], [("A-B", "a b")]),
        (["E-A", "E-A", "I-A"], [("A", "a b"), ("A", "c")]),  # only B- and I- are read
        (["B-O", "I-O", "O"], []),  # a kind named as what is ignored
        (["O", "O"], []),
    ],
)
def test_prefixes(labels: list[str], expected: list[tuple[str, str]]) -> None:
    found = entities(*_labelled(labels), "simple")
    assert [(entity.label, entity.text) for entity in found] == expected
    whole = entities(*_labelled(labels), "none")
    assert [entity.label for entity in whole] == [label for label in labels if label != "O"]


def test_scores_do_not_overflow() -> None:
    found = entities(*_labelled(["B-A", "O"], sure=3e38), "average")
    assert [(entity.label, entity.score) for entity in found] == [("A", 1.0)]


# ---- what is refused


def test_an_unknown_aggregation_is_refused(tagger: mbert.TokenClassifier) -> None:
    with pytest.raises(InputError, match=r"aggregation.*mean.*none, simple, first, average, max"):
        tagger.tag("a text", aggregation="mean")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ignore_labels": "O"}, "ignore_labels.*O"),
        ({"stride": 5}, "stride.*5.*error"),
        ({"stride": 5, "overflow": "truncate"}, "stride.*5.*truncate"),
        ({"stride": 5, "overflow": "window", "aggregation": "none"}, "aggregation.*none.*window"),
        ({"overflow": "window", "stride": 1022}, "stride.*1022.*0 to 1021"),
        ({"overflow": "window", "stride": -1}, "stride.*-1"),
        ({"overflow": "cut"}, "overflow.*cut.*error, truncate, window"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    tagger: mbert.TokenClassifier, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        tagger.tag("the river " * LIMIT, **options)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["a", ("b", "c")], "Text 1 .*tuple.*pairs"),
        ([1], "Text 0 .*int"),
        (["a", "lone \ud800 surrogate"], "Text 1 .*Unicode"),
    ],
    ids=["pair", "number", "surrogate"],
)
def test_what_is_no_text_is_refused(
    tagger: mbert.TokenClassifier, texts: Any, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        tagger.tag(texts)


# ---- mbert run


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["run", *map(str, arguments)])


@pytest.mark.parametrize("aggregation", [None, *AGGREGATIONS])
def test_entities_as_json(
    bundle: Path, tagger: mbert.TokenClassifier, aggregation: str | None
) -> None:
    option = ("--aggregation", aggregation) if aggregation else ()
    result = _run(bundle, "--json", *option, "--text", SENTENCES[0], "--text", "")
    assert result.exit_code == 0, result.output
    first, second = map(json.loads, result.stdout.splitlines())
    assert second == {"text": "", "entities": []}
    expected = tagger.tag(SENTENCES[0], aggregation=aggregation or "simple")
    _same([[Entity(**entity) for entity in first["entities"]]], [expected])


def test_entities_are_shown_one_a_line(bundle: Path, tagger: mbert.TokenClassifier) -> None:
    result = _run(bundle, "--text", SENTENCES[0], "--text", "")
    assert result.exit_code == 0, result.output
    found = tagger.tag(SENTENCES[0])
    shown = result.stdout.splitlines()
    assert shown[0] == SENTENCES[0]
    assert [line.split()[0] for line in shown[1 : len(found) + 1]] == [e.label for e in found]
    assert shown[len(found) + 1 :] == ["", "  no entities"]


def test_options_of_other_tasks_are_refused(bundle: Path, embed_bundle: Path) -> None:
    for folder, option, task in (
        (bundle, ("--top-k", 1), "token-classification"),
        (bundle, ("--pooling", "cls"), "token-classification"),
        (embed_bundle, ("--top-k", 1), "feature-extraction"),
        (embed_bundle, ("--aggregation", "first"), "feature-extraction"),
        (bundle, ("--aggregation", "mean"), "'mean'"),
    ):
        result = _run(folder, *option, "--text", "x")
        assert result.exit_code == 2
        assert option[0] in result.output
        assert task in result.output
