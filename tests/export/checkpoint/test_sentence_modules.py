"""Sentence-transformers folders in PyTorch, against the library itself on the same texts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sentence_transformers.sentence_transformer import modules
from torch import nn

from mbert.errors import CheckpointError
from mbert.export.checkpoint import open_checkpoint
from mbert.export.checkpoint.sentence_modules import DENSE_ACTIVATIONS
from mbert.export.tasks import TASKS, default_task, load_model
from mbert.model.heads.sentence_modules import Packing
from mbert.runtime.feeds import counted_tokens
from mbert.runtime.manifest import Limits
from mbert.runtime.tokenization import Tokenizer
from support.checkpoints import SMALL
from support.pooling import POOLINGS
from support.sentence import (
    LIBRARY,
    load_sentence_transformer,
    save_sentence_transformer,
    write_modules,
)
from support.text import SENTENCES

WIDTH = SMALL["hidden_size"]
TEXTS = [*SENTENCES, "", "bread"]
TOLERANCE = 1e-4


def packed(folder: Path, prompt: str = "") -> dict[str, torch.Tensor]:
    """TEXTS as one batch."""
    tokenizer = Tokenizer(folder / "tokenizer.json", Limits(4096, 128, 64), SMALL["vocab_size"])
    sequences = tokenizer.encode([prompt + text for text in TEXTS], overflow="truncate")
    offsets = np.cumsum([0, *map(len, sequences)], dtype=np.int32)
    batch = {"input_ids": np.concatenate(sequences), "cu_seqlens": offsets}
    return {name: torch.from_numpy(array) for name, array in batch.items()}


def embed(model: nn.Module, batch: dict[str, torch.Tensor]) -> NDArray[Any]:
    with torch.inference_mode():
        return model(**batch).numpy()


def load(folder: Path) -> nn.Module:
    checkpoint = open_checkpoint(folder)
    assert default_task(checkpoint) == "sentence-similarity"
    return load_model(checkpoint, "sentence-similarity")


def error(folder: Path) -> float:
    """Largest difference to what the library makes of the same texts."""
    exact = load_sentence_transformer(folder).encode(TEXTS)
    return float(np.abs(embed(load(folder), packed(folder)) - exact).max())


# ---- poolings


def test_every_pooling_is_the_librarys(tmp_path: Path) -> None:
    folder = save_sentence_transformer(tmp_path, modules.Pooling(WIDTH, POOLINGS))
    model, batch = load(folder), packed(folder)
    exact = load_sentence_transformer(folder).encode(TEXTS)
    assert np.abs(embed(model, batch) - exact).max() < TOLERANCE
    # The mutant: the pooling takes in the neighbour's token.
    model.pipeline.steps[0].register_forward_pre_hook(
        lambda _, inputs: (inputs[0].roll(1, 0), inputs[1])
    )
    differences = np.abs(embed(model, batch) - exact).reshape(len(TEXTS), len(POOLINGS), WIDTH)
    assert (differences.max(axis=(0, 2)) > 10 * TOLERANCE).all()


FLAGS = ["cls_token", "max_tokens", "mean_tokens", "mean_sqrt_len_tokens"]
FLAGS = [f"pooling_mode_{name}" for name in (*FLAGS, "weightedmean_tokens", "lasttoken")]


@pytest.mark.parametrize("chosen", [FLAGS, FLAGS[2:3], FLAGS[:0]], ids=["all", "mean", "none"])
def test_several_modes_lie_side_by_side_in_either_spelling(
    chosen: list[str], tmp_path: Path
) -> None:
    """The older spelling has a flag for each mode, and another order."""
    named = ["lasttoken", "mean"]
    folder = save_sentence_transformer(tmp_path, modules.Pooling(WIDTH, named))
    assert error(folder) < TOLERANCE
    flags = {flag: flag in chosen for flag in reversed(FLAGS)}
    settings = {"word_embedding_dimension": WIDTH, **flags}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(settings))
    assert load(folder).pipeline.widths["sentence_embedding"] == max(len(chosen), 1) * WIDTH
    assert error(folder) < TOLERANCE


def test_a_prompt_does_not_count_where_the_pooling_says_so(tmp_path: Path) -> None:
    folder = save_sentence_transformer(
        tmp_path, modules.Pooling(WIDTH, POOLINGS, include_prompt=False)
    )
    model, prompt = load(folder), "bread and water: "
    oracle = load_sentence_transformer(folder)
    length = oracle[0]._get_prompt_length(prompt)

    def difference(prompt: str, skipped: int) -> float:
        batch = packed(folder, prompt)
        count = np.full(len(TEXTS), skipped, np.int32)
        counted = counted_tokens(batch["cu_seqlens"].numpy(), len(batch["input_ids"]), count)
        batch |= {name: torch.from_numpy(array) for name, array in counted.items()}
        return float(np.abs(embed(model, batch) - oracle.encode(TEXTS, prompt=prompt)).max())

    assert difference(prompt, length) < TOLERANCE
    assert difference(prompt, length - 1) > 10 * TOLERANCE
    assert difference("", 0) < TOLERANCE


# ---- the other modules


def test_every_activation_is_torchs(tmp_path: Path) -> None:
    dense = [
        modules.Dense(WIDTH, 24, activation_function=kind(), module_output_name=name)
        for name, kind in DENSE_ACTIVATIONS.items()
    ]
    pooling = modules.Pooling(WIDTH, "mean_sqrt_len_tokens")
    folder = save_sentence_transformer(tmp_path, pooling, *dense)
    model, batch = load(folder), packed(folder)
    oracle = load_sentence_transformer(folder)
    exact = {name: np.stack(oracle.encode(TEXTS, output_value=name)) for name in DENSE_ACTIVATIONS}

    def errors() -> dict[str, float]:
        with torch.inference_mode():
            hidden = model.model(batch["input_ids"], batch["cu_seqlens"])
            found = model.pipeline(hidden, Packing(batch["cu_seqlens"]))
        return {name: np.abs(found[name].numpy() - exact[name]).max() for name in DENSE_ACTIVATIONS}

    assert max(errors().values()) < TOLERANCE
    swapped = [step.activation for step in model.pipeline.steps[1:]]
    for step, activation in zip(model.pipeline.steps[1:], swapped[1:] + swapped[:1], strict=True):
        step.activation = activation  # the mutants
    assert min(errors().values()) > 10 * TOLERANCE


def test_modules_in_any_chain(tmp_path: Path) -> None:
    """Projections of tokens and of texts, residuals, features with names of their own."""
    tokens = {"module_input_name": "token_embeddings"}
    folder = save_sentence_transformer(
        tmp_path,
        modules.Dense(WIDTH, 40, bias=False, activation_function=nn.Identity(), **tokens),
        modules.Dense(40, 40, use_residual=True, **tokens),
        modules.Pooling(40, ["cls", "max"]),
        modules.LayerNorm(80),
        modules.Dropout(0.5),
        modules.Dense(80, 24, use_residual=True),
        modules.Dense(24, 12, module_output_name="aside"),
        modules.Normalize(),
    )
    assert error(folder) < TOLERANCE


def test_a_plain_projection_needs_no_settings_but_its_sizes(tmp_path: Path) -> None:
    """As old folders have it: the names of features, the bias and the activation are defaults."""
    folder = save_sentence_transformer(
        tmp_path, modules.Pooling(WIDTH, "mean"), modules.Dense(WIDTH, 8)
    )
    exact = load_sentence_transformer(folder).encode(TEXTS)
    settings = {"in_features": WIDTH, "out_features": 8}
    (folder / "2_Dense" / "config.json").write_text(json.dumps(settings))
    entries = json.loads((folder / "modules.json").read_text())
    for entry in entries:
        entry["type"] = LIBRARY + entry["type"].rpartition(".")[2]
    (folder / "modules.json").write_text(json.dumps(entries))
    assert np.abs(embed(load(folder), packed(folder)) - exact).max() < TOLERANCE


# ---- refusals, by name


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pooling, Dense and LayerNorm; do not change it, copy it."""
    return save_sentence_transformer(
        tmp_path_factory.mktemp("saved"),
        modules.Pooling(WIDTH, "mean"),
        modules.Dense(WIDTH, 8),
        modules.LayerNorm(8),
    )


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "folder"))


def edit(path: Path, **changes: Any) -> None:
    settings = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({k: v for k, v in settings.items() if v != "absent"}))


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("1_Pooling", {"pooling_mode": "median"}, r"1_Pooling/config\.json: pooling_mode .*median"),
        ("1_Pooling", {"pooling_mode": []}, "pooling_mode of Pooling is"),
        ("1_Pooling", {"pooling_mode": [["mean"]]}, "pooling_mode of Pooling is"),
        ("1_Pooling", {"pooling_mode": 1}, "pooling_mode of Pooling is 1"),
        ("1_Pooling", {"include_prompt": "no"}, "include_prompt of Pooling is 'no'"),
        ("1_Pooling", {"embedding_dimension": 63}, "embedding_dimension of Pooling is 63.* 64"),
        ("1_Pooling", {"token_weights": 1}, "Pooling has the setting token_weights"),
        ("2_Dense", {"in_features": 63}, "in_features of Dense is 63; expected the width .*, 64"),
        ("2_Dense", {"in_features": "absent"}, "in_features of Dense is None"),
        ("2_Dense", {"out_features": 0}, "out_features of Dense is 0"),
        ("2_Dense", {"out_features": 9}, "dimension of LayerNorm is 8; expected the width .*, 9"),
        ("2_Dense", {"out_features": True}, "out_features of Dense is True"),
        ("2_Dense", {"bias": 1}, "bias of Dense is 1"),
        ("2_Dense", {"bias": False}, r"unexpected: linear\.bias"),
        ("2_Dense", {"use_residual": True}, r"missing: residual\.weight"),
        ("2_Dense", {"activation_function": "os.system"}, "activation_function .*'os.system'"),
        ("2_Dense", {"activation_function": "torch.nn.PReLU"}, "expected one of torch.nn"),
        ("2_Dense", {"activation_function": "torch.hub.Tanh"}, "expected one of torch.nn"),
        ("2_Dense", {"module_input_name": "scores"}, "Dense in '2_Dense' reads scores"),
        ("3_LayerNorm", {"dimension": 9}, "dimension of LayerNorm is 9"),
        (".", {"do_lower_case": True}, r"sentence_bert_config\.json: do_lower_case .* is True"),
        (".", {"transformer_task": "fill-mask"}, "transformer_task of Transformer"),
        (".", {"config_args": {"norm_eps": 1}}, "config_args of Transformer"),
        (".", {"tokenizer_args": {"truncation_side": "left"}}, "tokenizer_args of Transformer"),
        (".", {"processor_kwargs": {"model_max_length": 9}}, "processor_kwargs of Transformer"),
        (".", {"query_length": 9}, "Transformer has the setting query_length"),
        (".", {"unheard_of": 1}, "Transformer has the setting unheard_of"),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    folder: Path, file: str, changes: dict[str, Any], message: str
) -> None:
    edit(folder / file / ("sentence_bert_config.json" if file == "." else "config.json"), **changes)
    with pytest.raises(CheckpointError, match=message):
        load_model(open_checkpoint(folder), "sentence-similarity")


@pytest.mark.parametrize("kind", ["sentence_transformers.models.LSTM", "own.code.Pooling"])
def test_other_modules_are_refused_by_name(folder: Path, kind: str) -> None:
    entries = json.loads((folder / "modules.json").read_text())
    entries[3]["type"] = kind
    (folder / "modules.json").write_text(json.dumps(entries))
    name = "LSTM" if kind.endswith("LSTM") else kind
    with pytest.raises(CheckpointError, match=f"{name} in '3_LayerNorm' is not a module"):
        load_model(open_checkpoint(folder), "sentence-similarity")


def test_weights_of_another_shape_are_refused(folder: Path) -> None:
    edit(folder / "2_Dense" / "config.json", out_features=9)
    edit(folder / "3_LayerNorm" / "config.json", dimension=9)
    with pytest.raises(CheckpointError, match=r"linear\.weight is \[8, 64\], expected \[9, 64\]"):
        load_model(open_checkpoint(folder), "sentence-similarity")


def test_pickled_weights_are_refused_with_what_to_do(folder: Path) -> None:
    (folder / "2_Dense" / "model.safetensors").rename(folder / "2_Dense" / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"2_Dense has neither .*convert it to safetensors"):
        load_model(open_checkpoint(folder), "sentence-similarity")


@pytest.mark.parametrize("kinds", [(), ("Transformer",), ("Transformer", "Normalize")])
def test_what_makes_no_vector_of_a_text_is_refused(folder: Path, kinds: tuple[str, ...]) -> None:
    (folder / "modules.json").unlink()
    if kinds:
        write_modules(folder, *kinds)
    with pytest.raises(CheckpointError, match=r"modules\.json"):
        load_model(open_checkpoint(folder), "sentence-similarity")


@pytest.mark.parametrize("task", TASKS)
def test_what_changes_a_texts_tokens_is_refused_for_every_task(folder: Path, task: str) -> None:
    edit(folder / "sentence_bert_config.json", do_lower_case=True)
    with pytest.raises(CheckpointError, match="do_lower_case of Transformer is True"):
        load_model(open_checkpoint(folder), task)


@pytest.mark.parametrize(
    "kinds", [("Normalize",), ("own.code.Pooling",), ("WeightedLayerPooling", "Dropout")]
)
def test_modules_that_are_no_task_need_one_by_name(folder: Path, kinds: tuple[str, ...]) -> None:
    write_modules(folder, "Transformer", *kinds)
    checkpoint = open_checkpoint(folder)
    with pytest.raises(CheckpointError, match=rf"lists Transformer, {kinds[0]}.* name the task"):
        _ = default_task(checkpoint)
    load_model(checkpoint, "feature-extraction")


def test_hidden_states_are_to_be_had(saved: Path) -> None:
    model = load_model(open_checkpoint(saved), "feature-extraction")
    batch = packed(saved)
    assert embed(model, batch).shape == (len(batch["input_ids"]), WIDTH)
