"""A bundle for each kind of result; do not change them, copy them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

import mbert
from mbert.runtime.bundle import file_sha256
from support.checkpoints import make_checkpoint
from support.export_cache import ExportCache
from support.results import Oracle, first_output
from support.text import add_tokenizer

LABELS = {0: "good", 1: "bad", 2: "neither"}


@pytest.fixture(scope="session")
def label_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text-classification checkpoint of three labels, with a tokenizer."""
    folder = make_checkpoint(
        tmp_path_factory.mktemp("text") / "classifier",
        "text-classification",
        num_hidden_layers=3,
        classifier_pooling="mean",
        id2label=LABELS,
        label2id={label: i for i, label in LABELS.items()},
    )
    return add_tokenizer(folder)


@pytest.fixture(scope="session")
def embed_bundle(text_checkpoint: Path, exports: ExportCache) -> Path:
    return exports(text_checkpoint, "feature-extraction")


@pytest.fixture(scope="session")
def fill_mask_bundle(text_checkpoint: Path, exports: ExportCache) -> Path:
    return exports(text_checkpoint)


@pytest.fixture(scope="session")
def classify_bundle(label_checkpoint: Path, exports: ExportCache) -> Path:
    return exports(label_checkpoint)


@pytest.fixture(scope="session")
def embedder(embed_bundle: Path) -> Iterator[mbert.Embedder]:
    with mbert.Embedder.load(embed_bundle, threads=2) as model:
        yield model


@pytest.fixture(scope="session")
def masker(fill_mask_bundle: Path) -> Iterator[mbert.MaskFiller]:
    with mbert.MaskFiller.load(fill_mask_bundle, threads=2) as model:
        yield model


@pytest.fixture(scope="session")
def classifier(classify_bundle: Path) -> Iterator[mbert.Classifier]:
    with mbert.Classifier.load(classify_bundle, threads=2) as model:
        yield model


@pytest.fixture(scope="session")
def tokenizer(text_checkpoint: Path) -> Tokenizer:
    """The checkpoints' tokenizer, as the tokenizers library reads it."""
    return Tokenizer.from_file(str(text_checkpoint / "tokenizer.json"))


@pytest.fixture(scope="session")
def encoder(text_checkpoint: Path) -> Oracle:
    """transformers' hidden states of one sequence of ids."""
    return first_output(text_checkpoint, "feature-extraction")


@pytest.fixture(scope="session")
def labeller(label_checkpoint: Path) -> Oracle:
    """transformers' logits of one sequence of ids."""
    return first_output(label_checkpoint, "text-classification")


@pytest.fixture
def copied(embed_bundle: Path, tmp_path: Path) -> Path:
    """A copy of a bundle, to be damaged."""
    return Path(shutil.copytree(embed_bundle, tmp_path / "bundle"))


@pytest.fixture
def edited(tmp_path: Path) -> Callable[..., Path]:
    """Copy a bundle and change entries of its manifest; its files' entries are brought up to date.

    A file that the change removed from the folder goes from the list as well.
    """

    def edit(bundle: Path, change: Callable[[Path], None] | None = None, **entries: Any) -> Path:
        copied = Path(shutil.copytree(bundle, tmp_path / "edited"))
        if change is not None:
            change(copied)
        path = copied / "manifest.json"
        raw = {**json.loads(path.read_text()), **entries}
        if "files" not in entries:
            raw["files"] = {
                name: {"size": (copied / name).stat().st_size, "sha256": file_sha256(copied / name)}
                for name in raw["files"]
                if (copied / name).exists()
            }
        path.write_text(json.dumps(raw))
        return copied

    return edit
