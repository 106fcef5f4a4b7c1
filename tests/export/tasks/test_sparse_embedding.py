"""The modules that make SPLADE, and those that are refused."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mbert.errors import CheckpointError
from mbert.export.checkpoint import open_checkpoint
from mbert.export.checkpoint.modules_json import ModuleSpec
from mbert.export.tasks.sparse_embedding import build_splade


@pytest.mark.parametrize(
    ("kinds", "settings", "message"),
    [
        (["SpladePooling", "Normalize"], {}, "SpladePooling, Normalize follows"),
        ([], {}, "nothing follows"),
        (["SpladePooling"], {"pooling_strategy": "mean"}, "pooling_strategy of SpladePooling"),
        (["SpladePooling"], {"activation_function": "gelu"}, "activation_function of SpladePoo"),
        (["SpladePooling"], {"embedding_dimension": 7}, "the vocabulary's 500"),
        (["SpladePooling"], {"idf": True}, "SpladePooling has the setting idf"),
    ],
)
def test_sparse_modules_that_do_more_are_refused(
    kinds: list[str], settings: dict[str, Any], message: str, small_checkpoint: Path
) -> None:
    modules = [ModuleSpec("MLMTransformer", "", "sentence_bert_config.json", {})]
    modules += [ModuleSpec(kind, "1", "1/config.json", settings) for kind in kinds]
    with pytest.raises(CheckpointError, match=message):
        build_splade(
            SimpleNamespace(config=open_checkpoint(small_checkpoint).config, modules=modules)
        )
