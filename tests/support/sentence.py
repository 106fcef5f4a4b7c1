"""Sentence-transformers folders, written by hand or by the library."""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import modules

from support.checkpoints import make_checkpoint
from support.text import add_tokenizer

LIBRARY = "sentence_transformers.models."


def write_modules(folder: Path, *kinds: str, **settings: dict[str, Any]) -> Path:
    """Write modules.json and the modules' settings, by kind.

    A kind such as "a.b.C" is a class of another library. The transformer is in the folder itself,
    each other module in a subfolder.
    """
    entries = []
    for i, kind in enumerate(kinds):
        is_first = kind == "Transformer"
        path = "" if is_first else f"{i}_{kind.rpartition('.')[2]}"
        name = "sentence_bert_config.json" if is_first else "config.json"
        (folder / path).mkdir(parents=True, exist_ok=True)
        if kind in settings:
            (folder / path / name).write_text(json.dumps(settings[kind]))
        name = kind if "." in kind else LIBRARY + kind
        entries.append({"idx": i, "name": str(i), "path": path, "type": name})
    (folder / "modules.json").write_text(json.dumps(entries))
    return folder


@cache
def _encoder() -> Path:
    """Make an encoder with a tokenizer, once; it is deleted when the process ends."""
    folder = Path(tempfile.mkdtemp(prefix="mbert-encoder-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    checkpoint = make_checkpoint(folder / "encoder", "feature-extraction", num_hidden_layers=3)
    return add_tokenizer(checkpoint)


def save_sentence_transformer(
    folder: Path, *steps: Any, max_seq_length: int = 128, **settings: Any
) -> Path:
    """Let the library save an encoder of ``SMALL``'s width, then ``steps``."""
    torch.manual_seed(0)
    transformer = modules.Transformer(str(_encoder()), max_seq_length=max_seq_length)
    SentenceTransformer(modules=[transformer, *steps], device="cpu", **settings).save(str(folder))
    return folder


def load_sentence_transformer(folder: Path) -> SentenceTransformer:
    return SentenceTransformer(str(folder), device="cpu", local_files_only=True)
