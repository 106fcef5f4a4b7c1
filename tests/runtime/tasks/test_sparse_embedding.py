"""Sparse embeddings, held against sentence-transformers' SparseEncoder on the same folder."""

from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
from click.testing import CliRunner
from numpy.typing import NDArray
from sentence_transformers import SparseEncoder

import mbert
from mbert.cli import main
from mbert.errors import InputError
from mbert.export.checkpoint import open_checkpoint
from mbert.export.checkpoint.embedding_settings import embedding_settings
from mbert.export.tasks import default_task, load_model
from mbert.runtime.tasks.sparse_embedding import SparseEmbedding
from support.checkpoints import SMALL
from support.retrieval import PROMPTS, make_splade
from support.text import LONG_TEXT, SENTENCES, TEXTS

VOCAB = SMALL["vocab_size"]
TOLERANCE = 1e-4  # as users know the library's numbers, in float32
BLOCK = 128  # of the vocabulary's 500 columns; the last one is cut
ALL = (*TEXTS, LONG_TEXT)

sparse_module: Any = importlib.import_module("mbert.model.heads.splade")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_splade(tmp_path_factory.mktemp("splade") / "checkpoint")


@pytest.fixture(scope="module")
def bundle(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    bundle = tmp_path_factory.mktemp("bundles") / "splade"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sparse_module, "BLOCK", BLOCK)
        mbert.convert(folder, bundle)
    return bundle


@pytest.fixture(scope="module")
def oracle(folder: Path) -> SparseEncoder:
    return SparseEncoder(str(folder), device="cpu")


@pytest.fixture(scope="module")
def model(bundle: Path) -> Iterator[mbert.SparseEmbedder]:
    with mbert.SparseEmbedder.load(bundle, threads=2) as model:
        yield model


def dense(embeddings: Sequence[SparseEmbedding]) -> NDArray[np.float32]:
    weights = np.zeros((len(embeddings), VOCAB), np.float32)
    for row, embedding in zip(weights, embeddings, strict=True):
        row[embedding.indices] = embedding.values
    return weights


def encoded(oracle: SparseEncoder, texts: Sequence[str], **options: Any) -> NDArray[np.float32]:
    found = oracle.encode(list(texts), convert_to_sparse_tensor=False, **options)
    return np.asarray(found.numpy())


def test_weights_are_the_librarys(model: mbert.SparseEmbedder, oracle: SparseEncoder) -> None:
    found = model.embed(ALL, overflow="truncate")
    for embedding in found:
        assert (embedding.indices.dtype, embedding.values.dtype) == (np.int32, np.float32)
        assert (np.diff(embedding.indices) > 0).all()
        assert (embedding.values > 0).all()
    expected = encoded(oracle, ALL)
    assert np.abs(dense(found) - expected).max() < TOLERANCE
    assert np.mean(expected == 0) > 0.02  # some of them are left out


def test_functions_give_the_same(bundle: Path, oracle: SparseEncoder) -> None:
    with mbert.SparseEmbedder.load(bundle, threads=2, kernels=False) as model:
        found = dense(model.embed(SENTENCES))
    assert np.abs(found - encoded(oracle, SENTENCES)).max() < TOLERANCE


def test_the_largest_are_kept(model: mbert.SparseEmbedder, oracle: SparseEncoder) -> None:
    found = model.embed(SENTENCES, top_k=7)
    expected = encoded(oracle, SENTENCES, max_active_dims=7)
    assert [embedding.indices.size for embedding in found] == [7] * len(SENTENCES)
    assert np.abs(dense(found) - expected).max() < TOLERANCE


def test_the_folder_says_how_many_are_kept(
    bundle: Path, oracle: SparseEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config_sentence_transformers.json").write_text('{"max_active_dims": 7}')
    settings = embedding_settings(tmp_path, (), "dot")
    copy = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    manifest = json.loads((copy / "manifest.json").read_text())
    assert manifest["embedding"]["active"] is None
    manifest["embedding"]["active"] = settings.active
    (copy / "manifest.json").write_text(json.dumps(manifest))
    monkeypatch.setattr(oracle, "max_active_dims", 7)
    with mbert.SparseEmbedder.load(copy, threads=2) as model:
        found = model.embed(SENTENCES)
        assert model.embed(SENTENCES[0], top_k=9).indices.size == 9
    assert np.abs(dense(found) - encoded(oracle, SENTENCES)).max() < TOLERANCE
    assert [embedding.indices.size for embedding in found] == [7] * len(SENTENCES)


def test_prompts_are_the_librarys(model: mbert.SparseEmbedder, oracle: SparseEncoder) -> None:
    expected = encoded(oracle, SENTENCES, prompt_name="query")
    for prompt in ("query", PROMPTS["query"]):
        found = dense(model.embed(SENTENCES, prompt=prompt))
        assert np.abs(found - expected).max() < TOLERANCE
    without = dense(model.embed(SENTENCES))
    assert np.abs(without - expected).max() > 10 * TOLERANCE
    with pytest.raises(InputError, match=r"prompt.*passage.*query, document"):
        model.embed(SENTENCES, prompt="passage")


def test_tokens_are_named_as_the_library_names_them(
    model: mbert.SparseEmbedder, oracle: SparseEncoder
) -> None:
    found = model.token_weights(model.embed(SENTENCES[0]), top_k=5)
    expected = oracle.decode(oracle.encode(SENTENCES[0]), top_k=5)
    assert [(weight.token or None) for weight in found] == [token for token, _ in expected]
    weights = [weight for _, weight in expected]
    np.testing.assert_allclose([weight.weight for weight in found], weights, atol=TOLERANCE)


def test_an_empty_sequence_gives_zeros(model: mbert.SparseEmbedder) -> None:
    weights = model.run_packed([1, 7, 2], [0, 0, 3, 3])
    assert weights.shape == (3, VOCAB)
    np.testing.assert_array_equal(weights[[0, 2]], 0)
    np.testing.assert_array_equal(weights[1], model.run([[1, 7, 2]])[0])


def test_mistakes_exceed_the_tolerance(model: mbert.SparseEmbedder, oracle: SparseEncoder) -> None:
    """A test of the tests: the logarithm dropped, the neighbour's token pooled."""
    expected = encoded(oracle, SENTENCES)
    assert np.abs(np.expm1(dense(model.embed(SENTENCES))) - expected).max() > 10 * TOLERANCE
    ids = [oracle.tokenizer(text)["input_ids"] for text in SENTENCES]
    offsets = np.cumsum([0, *map(len, ids)])
    packed = np.concatenate(ids)
    assert np.abs(model.run_packed(packed, offsets) - expected).max() < TOLERANCE
    offsets[1:-1] += 1
    assert np.abs(model.run_packed(packed, offsets) - expected).max() > 10 * TOLERANCE


def test_logits_of_all_tokens_are_never_held(bundle: Path) -> None:
    graph = ir.load(bundle / "model.onnx").graph
    pooled = [node.inputs[0] for node in graph if node.op_type == "VarlenPooling"]
    widths = [value.shape[-1] for value in pooled if value is not None and value.shape is not None]
    assert widths == [128, 128, 128, 116]


@pytest.mark.parametrize(
    "pooling", [{"pooling_strategy": "sum"}, {"activation_function": "log1p_relu"}]
)
def test_other_poolings(pooling: dict[str, str], tmp_path: Path) -> None:
    folder = make_splade(tmp_path / "checkpoint", **pooling)
    oracle = SparseEncoder(str(folder), device="cpu")
    ids = [oracle.tokenizer(text)["input_ids"] for text in SENTENCES]
    checkpoint = open_checkpoint(folder)
    assert default_task(checkpoint) == "sparse-embedding"
    with torch.inference_mode():
        found = load_model(checkpoint, "sparse-embedding")(
            torch.tensor(np.concatenate(ids), dtype=torch.int32),
            torch.tensor(np.cumsum([0, *map(len, ids)]), dtype=torch.int32),
        )
    expected = encoded(oracle, SENTENCES)
    assert np.abs(found.numpy() - expected).max() < TOLERANCE * max(expected.max() / 10, 1)


def test_a_fill_mask_checkpoint_needs_no_modules(folder: Path) -> None:
    """The weights are the same; the task has to be named."""
    plain = open_checkpoint(folder.parent / "checkpoint-base")
    assert default_task(plain) == "fill-mask"
    ids = torch.tensor([1, 7, 8, 2], dtype=torch.int32), torch.tensor([0, 4], dtype=torch.int32)
    with torch.inference_mode():
        found = load_model(plain, "sparse-embedding")(*ids)
        expected = load_model(open_checkpoint(folder), "sparse-embedding")(*ids)
    assert torch.equal(found, expected)


@pytest.mark.parametrize(
    ("texts", "options", "message"),
    [
        (["a"], {"top_k": 0}, "top_k.*0"),
        ([LONG_TEXT], {}, "Text 0 has .* tokens.*1024"),
        ([3], {}, "Text 0 .*int"),
    ],
)
def test_what_cannot_be_embedded_is_refused(
    texts: list[Any], options: dict[str, Any], message: str, model: mbert.SparseEmbedder
) -> None:
    with pytest.raises(InputError, match=message):
        model.embed(texts, **options)


def test_the_command_prints_them(bundle: Path, model: mbert.SparseEmbedder) -> None:
    def run(*arguments: str) -> str:
        result = CliRunner().invoke(main, ["run", str(bundle), *arguments])
        assert result.exit_code == 0, result.output
        return result.stdout

    embedding = model.embed(SENTENCES[0])
    best = model.token_weights(embedding, 10)
    shown = run("--text", SENTENCES[0]).splitlines()[1]
    assert shown.startswith(f"  {best[0].token} {best[0].weight:.3f}")
    assert shown.endswith(f"({embedding.indices.size} tokens)")
    line = json.loads(run("--json", "--top-k", "3", "--text", SENTENCES[0]))
    top = model.embed(SENTENCES[0], top_k=3)
    assert line["indices"] == top.indices.tolist()
    np.testing.assert_array_equal(np.array(line["values"], np.float32), top.values)
    assert [entry["token_id"] for entry in line["best"]] == [w.token_id for w in best[:3]]
