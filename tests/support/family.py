"""Published ModernBERT checkpoints, scaled down in width and depth alone.

Each keeps head_dim, the MLP's ratio, thetas, window, activation, the form of its config (that of
2024 and 2025), the tokenizer's kind and special ids, and the modules.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from support.checkpoints import make_checkpoint, to_legacy
from support.sentence import write_modules
from support.text import SENTENCES, add_tokenizer

TEXTS = (
    *SENTENCES[:2],
    "Rzeka wezbrała 🌊 河が溢れた — النهر فاض",
    "",
    " \n ",
    "a\tb\u200b\x07 fin",
    " ".join(SENTENCES * 6),  # longer than every window
)


@dataclass(frozen=True)
class Member:
    """A published checkpoint.

    Attributes:
        shape: (layers, hidden, heads, intermediate).
        thetas: of global and of local layers.
        config: other entries of its config.json.
        tokenizer: "bytes" (byte-level BPE) or "gemma" (BPE with metaspace and byte fallback).
        modules: kinds and settings of its modules.json; empty: saved by transformers.
        settings: its config_sentence_transformers.json.
    """

    shape: tuple[int, int, int, int]
    thetas: tuple[float, float] = (160_000.0, 10_000.0)
    config: dict[str, Any] = field(default_factory=dict)
    tokenizer: str = "bytes"
    modules: tuple[tuple[str, dict[str, Any]], ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def scaled(self) -> Member:
        """Return the member with at most 4 layers and 2 heads."""
        layers, hidden, heads, intermediate = self.shape
        width = 2 * hidden // heads
        return replace(self, shape=(min(layers, 4), width, 2, width * intermediate // hidden))

    @property
    def settings_of_config(self) -> dict[str, Any]:
        """Return the arguments of transformers' config, without the vocabulary."""
        names = ("num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size")
        kinds = zip(("full_attention", "sliding_attention"), self.thetas, strict=True)
        return {
            **dict(zip(names, self.shape, strict=True)),
            "local_attention": 128,
            "max_position_embeddings": 8192,
            "rope_parameters": {
                kind: {"rope_type": "default", "rope_theta": theta} for kind, theta in kinds
            },
            **self.config,
        }


_ETTIN = {"thetas": (160_000.0, 160_000.0), "config": {"max_position_embeddings": 7999}}
_GEMMA_IDS = {"pad_token_id": 0, "bos_token_id": 2, "cls_token_id": 1, "eos_token_id": 1}
_MMBERT: dict[str, Any] = {
    "thetas": (160_000.0, 160_000.0),
    "config": {**_GEMMA_IDS, "sep_token_id": 1, "classifier_pooling": "mean"},
    "tokenizer": "gemma",
}
_CLS = ("Pooling", {"pooling_mode": "cls"})
_MEAN = ("Pooling", {"pooling_mode": "mean"})
_NORMALIZE: tuple[str, dict[str, Any]] = ("Normalize", {})

FAMILY = {
    "ModernBERT-base": Member((22, 768, 12, 1152)),
    "ModernBERT-large": Member((28, 1024, 16, 2624)),
    "ettin-encoder-17m": Member((7, 256, 4, 384), **_ETTIN),  # type: ignore[arg-type]
    "ettin-encoder-1b": Member((28, 1792, 28, 3840), **_ETTIN),  # type: ignore[arg-type]
    "mmBERT-base": Member((22, 768, 12, 1152), **_MMBERT),
    "mmBERT-small": Member((22, 384, 6, 1152), **_MMBERT),
    "gte-modernbert-base": Member((22, 768, 12, 1152), modules=(_CLS,)),
    "modernbert-embed-base": Member((22, 768, 12, 1152), modules=(_MEAN, _NORMALIZE)),
    "granite-embedding-english-r2": Member(
        (22, 768, 12, 1152), (80_000.0, 10_000.0), modules=(_CLS, _NORMALIZE)
    ),
    "granite-embedding-small-english-r2": Member(
        (12, 384, 12, 1536), (80_000.0, 10_000.0), modules=(_CLS, _NORMALIZE)
    ),
    "granite-embedding-97m-multilingual-r2": Member(
        (12, 384, 12, 1536),
        (150_000.0, 160_000.0),
        {"hidden_activation": "silu", "max_position_embeddings": 32768},
        modules=(_CLS, _NORMALIZE),
    ),
    "GTE-ModernColBERT-v1": Member(
        (22, 768, 12, 1152),
        modules=(("pylate.models.Dense.Dense", {"out_features": 128}),),
        settings={
            "model_type": "ColBERT",
            "query_prefix": "[Q] ",
            "document_prefix": "[D] ",
            "query_length": 32,
            "document_length": 300,
            "attend_to_expansion_tokens": False,
            "do_query_expansion": True,
            "skiplist_words": list("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"),
            "similarity_fn_name": "MaxSim",
        },
    ),
}

# Other sizes of ettin-encoder-17m and ModernBERT-large.
SIZES = {
    "ettin-encoder-32m": Member((10, 384, 6, 576), **_ETTIN),  # type: ignore[arg-type]
    "ettin-encoder-68m": Member((19, 512, 8, 768), **_ETTIN),  # type: ignore[arg-type]
    "ettin-encoder-150m": Member((22, 768, 12, 1152), **_ETTIN),  # type: ignore[arg-type]
    "ettin-encoder-400m": Member((28, 1024, 16, 2624), **_ETTIN),  # type: ignore[arg-type]
}


def make_member(folder: Path, name: str) -> Path:
    """Save a member, scaled down."""
    member = FAMILY[name].scaled
    task = "feature-extraction" if member.modules else "fill-mask"
    make_checkpoint(folder, task, **member.settings_of_config)
    to_legacy(folder)
    (add_tokenizer if member.tokenizer == "bytes" else add_gemma_tokenizer)(folder)
    if member.modules:
        _write_modules(folder, member)
    return folder


def _write_modules(folder: Path, member: Member) -> None:
    width = member.shape[1]
    own = {
        "Pooling": {"word_embedding_dimension": width},
        "pylate.models.Dense.Dense": {
            "in_features": width,
            "bias": False,
            "activation_function": "torch.nn.modules.linear.Identity",
        },
    }
    settings = {kind: {**own.get(kind, {}), **rest} for kind, rest in member.modules}
    write_modules(folder, "Transformer", *settings, **settings)
    path = folder / "sentence_bert_config.json"
    path.write_text(json.dumps({"max_seq_length": 8192, "do_lower_case": False}))
    (folder / "config_sentence_transformers.json").write_text(json.dumps(member.settings))
    prefixes = [str(text) for key, text in member.settings.items() if key.endswith("_prefix")]
    if prefixes:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.add_tokens(prefixes)
        tokenizer.save(str(folder / "tokenizer.json"))
    for i, (kind, rest) in enumerate(member.modules, 1):
        if kind.endswith("Dense"):
            torch.manual_seed(0)
            weight = torch.randn(rest["out_features"], width) / width**0.5
            target = folder / f"{i}_Dense" / "model.safetensors"
            save_file({"linear.weight": weight}, target)


def add_gemma_tokenizer(folder: Path, vocab_size: int = 500) -> Path:
    """Write a tokenizer like mmBERT's: spaces as "▁", unknown characters as bytes."""
    special = ("<pad>", "<eos>", "<bos>", "<unk>", "<mask>")
    trained = Tokenizer(models.BPE(unk_token="<unk>"))
    trained.normalizer = normalizers.Replace(" ", "▁")
    trained.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    trainer = trainers.BpeTrainer(vocab_size=vocab_size - 261, show_progress=False)
    trained.train_from_iterator(SENTENCES, trainer)
    learned = json.loads(trained.to_str())["model"]
    pieces = (*special, *(f"<0x{byte:02X}>" for byte in range(256)), *learned["vocab"])
    tokenizer = Tokenizer(
        models.BPE(
            vocab={piece: i for i, piece in enumerate(pieces)},
            merges=[tuple(merge) for merge in learned["merges"]],
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    tokenizer.normalizer = trained.normalizer
    tokenizer.pre_tokenizer = trained.pre_tokenizer
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    tokenizer.add_special_tokens(
        [AddedToken(token, lstrip=token == "<mask>", special=True) for token in special]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>",
        pair="<bos> $A <eos> $B <eos>",
        special_tokens=[("<bos>", 2), ("<eos>", 1)],
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {
        **{f"{token[1:-1]}_token": token for token in special},
        "cls_token": "<bos>",
        "sep_token": "<eos>",
        "tokenizer_class": "GemmaTokenizerFast",
        "add_bos_token": True,
        "add_eos_token": True,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(names), encoding="utf-8")
    return folder
