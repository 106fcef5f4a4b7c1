"""Documents ranked by cross encoders, held against sentence-transformers on the same folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from sentence_transformers import CrossEncoder
from sentence_transformers.sentence_transformer.modules import (
    Dense,
    LayerNorm,
    Pooling,
    Transformer,
)

import mbert
from mbert.cli import main
from mbert.errors import CheckpointError, InputError
from mbert.export.checkpoint import open_checkpoint
from mbert.export.checkpoint.reranking_settings import reranking_settings
from mbert.export.tasks import load_model
from mbert.export.tasks.text_classification import labels_of
from mbert.runtime import RankResult, Reranker
from support.checkpoints import edit_config, make_checkpoint
from support.export_cache import ExportCache
from support.text import SENTENCES, add_tokenizer

QUERY = "Who built the bridge?"
DOCUMENTS = (
    *SENTENCES,
    "Мельник построил мост. 面包师住在河边。パン屋の息子たち。 강이 밤에 불었다.",
    "👩\u200d👩\u200d👧 took 🚲 over the bridge 🌉🇫🇷, naïvely: cafe\u0301 café",
    "הנהר עלה בלילה, and النهر ارتفع في الليل.",
    "tab\tnew\nline\r\nnull\x00bell\x07escape\x1b[0m del\x7f \u200b\u2028\ufeff",
    "[CLS] the miller [SEP] the [MASK] baker [PAD][SEP]",
    "",
    " \t\n  ",
    " ".join((" ".join(SENTENCES).split() * 200)[:10_000]),
)
PROMPTS = {"query": "query: ", "other": "What was asked: "}
LONGEST = 100  # tokens, of the folder that says so


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of one label, as transformers saves it."""
    folder = tmp_path_factory.mktemp("rerank") / "plain"
    make_checkpoint(folder, "text-classification", num_labels=1, num_hidden_layers=3)
    return add_tokenizer(folder)


@pytest.fixture(scope="module")
def saved(plain: Path) -> Path:
    """The same as sentence-transformers saves it, with an activation, a limit and prompts."""
    encoder = CrossEncoder(
        str(plain),
        device="cpu",
        activation_fn=torch.nn.Identity(),
        max_length=LONGEST,
        prompts=PROMPTS,
        default_prompt_name="query",
    )
    encoder.save_pretrained(str(plain.parent / "saved"))
    return plain.parent / "saved"


@pytest.fixture(scope="module")
def modular(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder with modules after it, the last of which gives the score."""
    folder = tmp_path_factory.mktemp("rerank")
    make_checkpoint(folder / "encoder", "feature-extraction", num_hidden_layers=3)
    add_tokenizer(folder / "encoder")
    torch.manual_seed(0)
    identity = torch.nn.Identity()
    norm = LayerNorm(48)
    torch.nn.init.normal_(norm.norm.weight)
    encoder = CrossEncoder(
        modules=[
            Transformer(str(folder / "encoder")),
            Pooling(64, "mean"),
            Dense(64, 48, activation_function=torch.nn.GELU()),
            norm,
            Dense(48, 1, activation_function=identity, module_output_name="scores"),
        ],
        device="cpu",
    )
    encoder.save_pretrained(str(folder / "modular"))
    return folder / "modular"


@pytest.fixture(scope="module")
def rerankers(
    plain: Path, saved: Path, modular: Path, exports: ExportCache
) -> Iterator[dict[str, tuple[Reranker, Any]]]:
    """mbert's and sentence-transformers' model of each folder."""
    pairs: dict[str, tuple[Reranker, Any]] = {}
    threads = torch.get_num_threads()
    for folder in (plain, saved, modular):
        encoder = CrossEncoder(str(folder), device="cpu")
        pairs[folder.name] = Reranker.load(exports(folder), threads=2), encoder
    torch.set_num_threads(1)  # small matrices: waiting for other threads takes longer
    yield pairs
    torch.set_num_threads(threads)
    for model, _ in pairs.values():
        model.close()


def same(found: list[RankResult], expected: list[dict[str, Any]]) -> None:
    """In the same order, but for scores that are next to equal."""
    scores = [one["score"] for one in expected]
    assert [one.score for one in found] == pytest.approx(scores, rel=0, abs=1e-4)
    by_index = {one["corpus_id"]: one["score"] for one in expected}
    for one in found:
        assert one.score == pytest.approx(by_index[one.index], rel=0, abs=1e-4)
        assert one.document == DOCUMENTS[one.index]


# ---- as sentence-transformers


@pytest.mark.parametrize("name", ["plain", "saved", "modular"])
def test_documents_are_ranked_as_by_the_library(
    rerankers: dict[str, tuple[Reranker, Any]], name: str
) -> None:
    model, encoder = rerankers[name]
    assert model.info.task == "text-classification"
    found = model.rerank(QUERY, DOCUMENTS, overflow="truncate")
    expected = encoder.rank(QUERY, list(DOCUMENTS))
    same(found, expected)
    scores = [one.score for one in found]
    assert max(scores) - min(scores) > 0.05  # or agreement would show little
    predicted = encoder.predict([(document, QUERY) for document in DOCUMENTS[:4]])
    ours = {one.index: one.score for one in found}
    assert max(abs(ours[i] - score) for i, score in enumerate(predicted)) > 1e-3


def test_prompts(rerankers: dict[str, tuple[Reranker, Any]]) -> None:
    model, encoder = rerankers["saved"]
    assert model.info.limits.max_sequence_length == LONGEST
    whole = {}
    for given, options in (
        (None, {}),
        ("other", {"prompt_name": "other"}),
        ("Say: ", {"prompt": "Say: "}),
        ("", {"prompt": ""}),
    ):
        found = model.rerank(QUERY, DOCUMENTS, prompt=given, overflow="truncate")
        same(found, encoder.rank(QUERY, list(DOCUMENTS), **options))
        whole[given] = [one.score for one in found]
    assert len({str(scores) for scores in whole.values()}) == 4
    with pytest.raises(InputError, match=r"prompt.*unknown.*other, query"):
        model.rerank(QUERY, DOCUMENTS, prompt="unknown")
    # A name that folders of vectors have; this one has it not.
    with pytest.raises(InputError, match=r"prompt.*document.*other, query"):
        model.rerank(QUERY, DOCUMENTS, prompt="document")


def test_only_the_best(rerankers: dict[str, tuple[Reranker, Any]]) -> None:
    model, encoder = rerankers["plain"]
    documents = list(SENTENCES)
    best = model.rerank(QUERY, documents, top_k=2)
    assert best == model.rerank(QUERY, documents)[:2]
    same(best, encoder.rank(QUERY, documents, top_k=2))
    assert model.rerank(QUERY, []) == []


def test_scores_of_pairs_are_the_pipelines(
    rerankers: dict[str, tuple[Reranker, Any]],
) -> None:
    """A classifier stays one: the sigmoid of one label, or its raw value."""
    model, encoder = rerankers["modular"]
    pairs = [(QUERY, document) for document in SENTENCES]
    found = [labels[0] for labels in model.classify(pairs, function_to_apply="none")]
    expected = encoder.predict(pairs, activation_fn=torch.nn.Identity())
    assert [one.score for one in found] == pytest.approx(expected.tolist(), rel=0, abs=1e-4)
    assert {one.label for one in found} == {"LABEL_0"}


# ---- what the folders say


@pytest.mark.parametrize(
    ("entries", "activation"),
    [
        (
            {"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"}},
            "Identity",
        ),
        ({"sbert_ce_default_activation_function": "torch.nn.modules.activation.Tanh"}, "Tanh"),
        ({"sentence_transformers": {"version": "5.0.0"}}, "Sigmoid"),
        ({}, "Sigmoid"),
    ],
)
def test_the_activation_is_found_where_older_releases_put_it(
    plain: Path, tmp_path: Path, entries: dict[str, Any], activation: str
) -> None:
    folder = edit_config(Path(shutil.copytree(plain, tmp_path / "checkpoint")), **entries)
    assert reranking_settings(folder).activation == activation
    library = CrossEncoder(str(folder), device="cpu").activation_fn
    assert type(library).__name__ == activation


def test_a_transformer_that_lowers_a_text_is_refused(saved: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(saved, tmp_path / "checkpoint"))
    path = folder / "sentence_bert_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "do_lower_case": True}))
    with pytest.raises(CheckpointError, match="do_lower_case of Transformer is True"):
        mbert.convert(folder, tmp_path / "bundle")


def test_a_score_may_be_normalized(modular: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(modular, tmp_path / "checkpoint"))
    modules = json.loads((folder / "modules.json").read_text())
    kind = modules[-1]["type"].replace("Dense", "Normalize").replace("dense", "normalize")
    modules.append({"idx": 5, "name": "5", "path": "5_Normalize", "type": kind})
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "5_Normalize").mkdir()
    names = {"module_input_name": "scores", "module_output_name": "scores"}
    (folder / "5_Normalize" / "config.json").write_text(json.dumps(names))
    checkpoint = open_checkpoint(folder)
    assert labels_of(checkpoint) == ("LABEL_0",)


def test_an_unknown_activation_is_refused(plain: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(plain, tmp_path / "checkpoint"))
    edit_config(folder, sentence_transformers={"activation_fn": "my.Own"})
    message = r"config\.json: sentence_transformers: activation_fn is 'my\.Own'; expected one of"
    with pytest.raises(CheckpointError, match=message):
        mbert.convert(folder, tmp_path / "bundle")


def change_module(folder: Path, module: str, **entries: Any) -> None:
    path = next(folder.glob(f"*_{module}")) / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda folder: change_module(folder, "Pooling", include_prompt=False),
            "Pooling has include_prompt false",
        ),
        (
            lambda folder: drop(folder, "Pooling"),
            "reads sentence_embedding; the modules before it give token_embeddings",
        ),
    ],
    ids=["prompt excluded", "no pooling"],
)
def test_chains_that_are_not_supported_are_refused(
    modular: Path, tmp_path: Path, change: Callable[[Path], None], message: str
) -> None:
    folder = Path(shutil.copytree(modular, tmp_path / "checkpoint"))
    change(folder)
    with pytest.raises(CheckpointError, match=message):
        mbert.convert(folder, tmp_path / "bundle")


def drop(folder: Path, module: str) -> None:
    modules = json.loads((folder / "modules.json").read_text())
    kept = [entry for entry in modules if not entry["type"].endswith(module)]
    (folder / "modules.json").write_text(json.dumps(kept))


def test_scores_of_tokens_are_none_of_a_sequence(modular: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(modular, tmp_path / "checkpoint"))
    for module in ("Pooling", "LayerNorm"):
        drop(folder, module)
    path = folder / "2_Dense" / "config.json"
    config = {**json.loads(path.read_text()), "module_input_name": "token_embeddings"}
    path.write_text(json.dumps(config))
    last = folder / "4_Dense" / "config.json"
    config = {**json.loads(last.read_text()), "module_input_name": config["module_output_name"]}
    last.write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="lists nothing that makes scores of a sequence"):
        load_model(open_checkpoint(folder), "text-classification")


# ---- what is refused


def test_what_makes_no_sense_is_refused(
    rerankers: dict[str, tuple[Reranker, Any]],
) -> None:
    model, _ = rerankers["plain"]
    for arguments, message in (
        ((QUERY, "a document"), "documents.*str"),
        ((1, ["a"]), "query.*int"),
        ((QUERY, ["a", 1]), "Document 1 .*int"),
        ((QUERY, DOCUMENTS), r"Text 13 has \d+ tokens"),
    ):
        with pytest.raises(InputError, match=message):
            model.rerank(*arguments)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"top_k.*0"):
        model.rerank(QUERY, ["a"], top_k=0)


# ---- mbert run


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["run", *map(str, arguments)])


def test_ranking_as_lines_and_json(
    rerankers: dict[str, tuple[Reranker, Any]], tmp_path: Path
) -> None:
    model, _ = rerankers["plain"]
    bundle = model.context.folder
    texts = [argument for text in SENTENCES for argument in ("--text", text)]
    best = model.rerank(QUERY, SENTENCES)[:2]
    result = run(bundle, "--query", QUERY, "--top-k", 2, "--json", *texts)
    assert result.exit_code == 0, result.output
    for line, one in zip(result.stdout.splitlines(), best, strict=True):
        found = json.loads(line)
        assert (found["text"], found["index"]) == (one.document, one.index)
        assert found["score"] == pytest.approx(one.score)
    lines = run(bundle, "--query", QUERY, *texts).stdout.splitlines()
    assert lines[:2] == [best[0].document, f"  {best[0].score:.4f}"]
    assert len(lines) == 2 * len(SENTENCES)


def test_a_query_belongs_to_ranking(
    rerankers: dict[str, tuple[Reranker, Any]], embed_bundle: Path, classify_bundle: Path
) -> None:
    bundle = rerankers["plain"][0].context.folder
    for folder, options, named in (
        (embed_bundle, ("--query", QUERY), ("--query", "feature-extraction")),
        (classify_bundle, ("--query", QUERY), ("--query", "text-classification")),
        (bundle, ("--query", QUERY, "--role", "query"), ("--role", "--query")),
        (bundle, ("--prompt", "query"), ("--prompt", "text-classification")),
    ):
        result = run(folder, *options, "--text", "x")
        assert result.exit_code == 2
        assert all(name in result.output for name in named)
