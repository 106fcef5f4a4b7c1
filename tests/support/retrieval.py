"""Folders of retrieval models: PyLate's and sentence-transformers'."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from sentence_transformers import MultiVectorEncoder, SparseEncoder
from sentence_transformers.base.modules import Dense, Normalize, Transformer
from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
from sentence_transformers.sparse_encoder.modules import SpladePooling
from tokenizers import AddedToken, Tokenizer
from torch import nn

from support.checkpoints import SMALL, make_checkpoint
from support.sentence import write_modules
from support.text import add_tokenizer

DIM = 16
PREFIXES = {"query": "[Q] ", "document": "[D] "}
PROMPTS = {"query": "the query: "}
# The prefixes are the last tokens of the vocabulary, where PyLate adds them.
VOCABULARY = {"vocab_size": SMALL["vocab_size"] + len(PREFIXES)}


def add_prefixes(folder: Path) -> Path:
    """Add ``PREFIXES`` to the folder's tokenizer."""
    path = folder / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.add_tokens([AddedToken(prefix, normalized=True) for prefix in PREFIXES.values()])
    tokenizer.save(str(path))
    return folder


def make_pylate(folder: Path, **settings: Any) -> Path:
    """Write a PyLate folder of three layers, with ``settings`` in its configuration."""
    make_checkpoint(folder, "feature-extraction", num_hidden_layers=3, **VOCABULARY)
    add_prefixes(add_tokenizer(folder))
    dense = "pylate.models.Dense.Dense"
    write_modules(
        folder,
        "Transformer",
        dense,
        **{
            "Transformer": {"max_seq_length": 20, "do_lower_case": False},
            dense: {
                "in_features": SMALL["hidden_size"],
                "out_features": DIM,
                "bias": False,
                "activation_function": "torch.nn.modules.linear.Identity",
            },
        },
    )
    generator = torch.Generator().manual_seed(2)
    weight = torch.randn(DIM, SMALL["hidden_size"], generator=generator) / 8
    save_file({"linear.weight": weight}, folder / "1_Dense" / "model.safetensors")
    names = {f"{role}_prefix": prefix for role, prefix in PREFIXES.items()}
    contents = {"prompts": {}, "similarity_fn_name": "MaxSim", **names, **settings}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(contents))
    return folder


def make_native(folder: Path, **mask: Any) -> Path:
    """Let MultiVectorEncoder save a folder: prompts as text, expanded queries."""
    base = folder.parent / f"{folder.name}-base"
    make_checkpoint(base, "feature-extraction", num_hidden_layers=3, **VOCABULARY)
    add_prefixes(add_tokenizer(base))
    torch.manual_seed(3)
    transformer = Transformer(
        str(base),
        query_length=24,
        document_length=48,
        query_expansion={"strategy": "min", "attend": True, "length": 16},
    )
    name = "token_embeddings"
    dense = Dense(SMALL["hidden_size"], DIM, activation_function=nn.GELU(), module_input_name=name)
    modules = [transformer, dense, MultiVectorMask(**mask), Normalize(module_input_name=name)]
    model = MultiVectorEncoder(
        modules=modules, prompts=PREFIXES, similarity_fn_name="meanmaxsim", device="cpu"
    )
    model.save(str(folder))
    return folder


def make_splade(folder: Path, **pooling: Any) -> Path:
    """Let SparseEncoder save a folder."""
    base = folder.parent / f"{folder.name}-base"
    add_tokenizer(make_checkpoint(base, "fill-mask", num_hidden_layers=3))
    modules = [Transformer(str(base), transformer_task="fill-mask"), SpladePooling(**pooling)]
    SparseEncoder(modules=modules, prompts=PROMPTS, device="cpu").save(str(folder))
    return folder
