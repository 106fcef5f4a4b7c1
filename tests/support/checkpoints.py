"""Checkpoints that transformers saves, with weights on which mistakes show."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers

ARCHITECTURES = {
    "feature-extraction": transformers.ModernBertModel,
    "fill-mask": transformers.ModernBertForMaskedLM,
    "text-classification": transformers.ModernBertForSequenceClassification,
    "token-classification": transformers.ModernBertForTokenClassification,
    "question-answering": transformers.ModernBertForQuestionAnswering,
}

# Small, with layers of both kinds, windows shorter than the sequences, and several heads.
SMALL = {
    "vocab_size": 500,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "max_position_embeddings": 1024,
    "local_attention": 32,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "cls_token_id": 1,
    "sep_token_id": 2,
}


def make_checkpoint(folder: Path, task: str = "fill-mask", **config: Any) -> Path:
    """Save a checkpoint of ``SMALL`` changed by ``config``, with sharpened weights."""
    return save_model(make_model(task, **{**SMALL, **config}), folder)


def make_model(task: str, **config: Any) -> Any:
    torch.manual_seed(0)
    shape = transformers.ModernBertConfig(**config)
    # Narrow projections get outputs as large as those of base.
    shape.initializer_range = 0.02 * (768 / shape.hidden_size) ** 0.5
    model = ARCHITECTURES[task](shape).eval()
    sharpen(model)
    return model


def save_model(model: Any, folder: Path) -> Path:
    transformers.utils.logging.disable_progress_bar()
    model.save_pretrained(folder)
    return folder


@torch.no_grad()
def sharpen(model: torch.nn.Module) -> None:
    """Scale up weights that random initialisation leaves too small to show mistakes.

    With default weights attention is nearly uniform and GELU nearly linear: an exact and a tanh
    GELU differ by 5e-5 after 22 layers, and a window that is off by one by no more.
    """
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        noise = 0.3 * torch.randn(parameter.shape, generator=generator)
        if name.endswith("bias"):
            parameter.copy_(noise)
        elif "norm" in name:
            parameter.copy_(1 + noise)
        elif "Wqkv" in name:
            parameter.mul_(4)
        elif ".Wi." in name:
            parameter.mul_(3)


def load_oracle(folder: Path, task: str) -> Any:
    """Load the checkpoint by transformers: sdpa, float32."""
    return ARCHITECTURES[task].from_pretrained(folder, attn_implementation="sdpa").eval()


def edit_config(folder: Path, remove: tuple[str, ...] = (), **changes: Any) -> Path:
    """Rewrite the config.json of ``folder``."""
    path = folder / "config.json"
    config = {**json.loads(path.read_text()), **changes}
    for key in remove:
        config.pop(key, None)
    path.write_text(json.dumps(config))
    return folder


def to_legacy(folder: Path) -> Path:
    """Rewrite config.json in the form of checkpoints of 2024 and 2025."""
    config = json.loads((folder / "config.json").read_text())
    rope = config["rope_parameters"]
    kinds = config["layer_types"]
    globals_at = [i for i, kind in enumerate(kinds) if kind == "full_attention"]
    return edit_config(
        folder,
        remove=("layer_types", "rope_parameters"),
        global_attn_every_n_layers=globals_at[1] if len(globals_at) > 1 else len(kinds),
        global_rope_theta=rope["full_attention"]["rope_theta"],
        local_rope_theta=rope["sliding_attention"]["rope_theta"],
    )
