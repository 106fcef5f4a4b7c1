"""The whole model against transformers and float64: config by config, mutant by mutant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mbert
from mbert.export.checkpoint import open_checkpoint
from mbert.export.tasks import load_model
from support.checkpoints import ARCHITECTURES, SMALL, make_checkpoint, to_legacy
from support.comparison import Judgement, judge, random_sequences, side_by_side
from support.export_cache import ExportCache
from support.oracle import MUTANTS
from support.text import add_tokenizer
from support.thinning import thinned

LENGTHS = (1, 2, 17, 40, 130, 300)

# Each field of the config that changes the computation, off its default.
CONFIGS: dict[str, dict[str, Any]] = {
    "default": {},
    "all biases": {
        "norm_bias": True,
        "attention_bias": True,
        "mlp_bias": True,
        "classifier_bias": True,
    },
    "no decoder bias": {"decoder_bias": False},
    "untied": {"tie_word_embeddings": False},
    "silu": {"hidden_activation": "silu", "classifier_activation": "silu"},
    "relu": {"hidden_activation": "relu", "classifier_activation": "relu"},
    "tanh gelu": {"hidden_activation": "gelu_pytorch_tanh"},
    "norm_eps": {"norm_eps": 1e-3},
    "window 1": {"local_attention": 2},
    "window odd": {"local_attention": 11},
    "window 100": {"local_attention": 200},
    "every 2": {"global_attn_every_n_layers": 2},
    "all global": {"global_attn_every_n_layers": 1},
    "irregular layers": {
        "layer_types": [
            "sliding_attention",
            "sliding_attention",
            "full_attention",
            "sliding_attention",
        ]
    },
    "one theta": {
        "rope_parameters": {
            "full_attention": {"rope_type": "default", "rope_theta": 160000.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 160000.0},
        }
    },
    "other thetas": {
        "rope_parameters": {
            "full_attention": {"rope_type": "default", "rope_theta": 80000.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 500.0},
        }
    },
    "one layer": {"num_hidden_layers": 1},
    "head_dim 16": {"num_attention_heads": 4},
    "head_dim 128": {"hidden_size": 256, "num_attention_heads": 2, "intermediate_size": 160},
    "tiny shape": {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 48},
    "large's width": {
        "hidden_size": 1024,
        "num_attention_heads": 16,
        "intermediate_size": 2624,
        "num_hidden_layers": 4,
    },
    "wide": {"hidden_size": 192, "num_attention_heads": 6, "num_hidden_layers": 7},
}


def assert_within(judgement: Judgement, results: list[Any]) -> None:
    errors = judgement.errors(results)
    assert max(errors) <= judgement.tolerance, dict(zip(LENGTHS, errors, strict=False))


def pytorch_results(checkpoint: Path, task: str, sequences: list[Any]) -> list[Any]:
    """mbert's own PyTorch model on one packed batch."""
    model = load_model(open_checkpoint(checkpoint), task)
    offsets = np.cumsum([0, *map(len, sequences)])
    inputs = {
        "input_ids": torch.from_numpy(np.concatenate(sequences)),
        "cu_seqlens": torch.from_numpy(offsets.astype(np.int32)),
    }
    if task == "fill-mask":
        inputs["mask_positions"] = torch.arange(offsets[-1], dtype=torch.int32)
    with torch.inference_mode():
        outputs = model(**inputs)
    several = outputs if isinstance(outputs, tuple) else (outputs,)
    output = side_by_side([one.numpy() for one in several])
    return list(output) if task == "text-classification" else np.split(output, offsets[1:-1])


def runtime_results(bundle: Path, task: str, sequences: list[Any], kernels: bool) -> list[Any]:
    """The exported model on one packed batch; for fill-mask the logits of every token."""
    with mbert.load(bundle, kernels=kernels) as model:
        if task != "fill-mask":
            results = model.run(sequences)
            several = isinstance(results[0], dict)
            return [side_by_side([*one.values()]) for one in results] if several else results
        offsets = np.cumsum([0, *map(len, sequences)])
        rows = np.arange(offsets[-1])
        output = model.run_packed(np.concatenate(sequences), offsets, mask_positions=rows)
        return np.split(output, offsets[1:-1])


@pytest.mark.parametrize("legacy", thinned([False, True], [False]), ids=["current", "legacy"])
@pytest.mark.parametrize("name", CONFIGS)
def test_pytorch_model_within_bound(name: str, legacy: bool, tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path / "checkpoint", **CONFIGS[name])
    sequences = random_sequences(LENGTHS, SMALL["vocab_size"])
    judgement = judge(checkpoint, "fill-mask", sequences)
    if legacy:
        if name == "irregular layers":
            pytest.skip("the legacy form cannot say it")
        to_legacy(checkpoint)
    assert_within(judgement, pytorch_results(checkpoint, "fill-mask", sequences))


@pytest.mark.parametrize("kernels", thinned([True, False], [True]))
@pytest.mark.parametrize(
    ("name", "task"),
    [
        *(("default", task) for task in ARCHITECTURES),
        *thinned((("all biases", task) for task in ARCHITECTURES), [("all biases", "fill-mask")]),
        # These change the encoder alone.
        *((name, "fill-mask") for name in ("window odd", "irregular layers", "one theta")),
    ],
)
def test_export_within_bound(
    name: str, task: str, kernels: bool, exports: ExportCache, tmp_path: Path
) -> None:
    # With a tokenizer, as other tests have it: they share the export.
    checkpoint = make_checkpoint(tmp_path / "checkpoint", task, **CONFIGS[name])
    bundle = exports(add_tokenizer(checkpoint), task)
    sequences = random_sequences(LENGTHS, SMALL["vocab_size"])
    judgement = judge(checkpoint, task, sequences)
    assert_within(judgement, runtime_results(bundle, task, sequences, kernels))


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_classifier_pooling(pooling: str, exports: ExportCache, tmp_path: Path) -> None:
    checkpoint = make_checkpoint(
        tmp_path / "checkpoint", "text-classification", classifier_pooling=pooling, num_labels=5
    )
    bundle = exports(checkpoint)
    sequences = random_sequences(LENGTHS, SMALL["vocab_size"])
    judgement = judge(checkpoint, "text-classification", sequences)
    for kernels in (True, False):
        results = runtime_results(bundle, "text-classification", sequences, kernels)
        assert_within(judgement, results)
        # The mutant: the pooling takes in the neighbour's token.
        with mbert.load(bundle) as model:
            shifted = np.cumsum([0, *map(len, sequences)])
            shifted[1:-1] += 1
            mutant = model.run_packed(np.concatenate(sequences), shifted)
        assert max(judgement.errors(list(mutant))) > 10 * judgement.tolerance


@pytest.mark.parametrize("mutant", MUTANTS)
@pytest.mark.parametrize("task", thinned(ARCHITECTURES, ["fill-mask", "text-classification"]))
def test_mutant_is_caught(mutant: str, task: str, tmp_path: Path) -> None:
    """A test of the tests: each mistake exceeds the tolerance tenfold."""
    # A classifier that pools by first token sees the window through the layers only: enough layers.
    checkpoint = make_checkpoint(tmp_path / "checkpoint", task)
    sequences = random_sequences(LENGTHS, SMALL["vocab_size"])
    judgement = judge(checkpoint, task, sequences)
    errors = judgement.errors(judgement.mutated(mutant))
    assert max(errors) > 10 * judgement.tolerance, (errors, judgement.tolerance)
