"""Reading manifests: damaged, newer and contradictory ones are refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import mbert
from mbert.errors import BundleError
from mbert.runtime.bundle import open_bundle
from mbert.runtime.manifest import FORMAT_VERSION
from mbert.runtime.manifest_reader import read_manifest
from support.bundles import manifest_of, rewrite


def test_other_paths_than_bundles_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "absent", tmp_path / "file"):
        with pytest.raises(BundleError, match=r"manifest\.json.*mbert-export"):
            open_bundle(path)


@pytest.mark.parametrize("contents", [b"", b"{", b"\xff\xfe", b"{]"])
def test_invalid_json_is_refused(copied: Path, contents: bytes) -> None:
    (copied / "manifest.json").write_bytes(contents)
    with pytest.raises(BundleError, match=r"manifest\.json .*JSON"):
        open_bundle(copied)


@pytest.mark.parametrize("raw", [[], "x", 3, None, {}])
def test_other_json_is_refused(copied: Path, raw: object) -> None:
    rewrite(copied, raw)
    with pytest.raises(BundleError, match=r"format_version.*None"):
        open_bundle(copied)


@pytest.mark.parametrize("version", [0, -1, "1", 1.0, None, True])
def test_a_format_that_is_no_number_is_refused(copied: Path, version: object) -> None:
    rewrite(copied, {**manifest_of(copied), "format_version": version})
    with pytest.raises(BundleError, match=f"format_version.*{version!r}"):
        open_bundle(copied)


def test_a_newer_format_is_refused_by_its_number(copied: Path) -> None:
    newer = {"format_version": FORMAT_VERSION + 1, "mbert_version": "9.1", "unheard": "of"}
    rewrite(copied, newer)
    with pytest.raises(BundleError, match=rf"format {FORMAT_VERSION + 1}.*mbert 9\.1"):
        open_bundle(copied)


KEYS = (
    "mbert_version",
    "task",
    "precision",
    "target",
    "backend",
    "operators",
    "model",
    "inputs",
    "outputs",
    "limits",
    "pooling",
    "labels",
    "problem_type",
    "special_tokens",
    "source",
    "engine",
    "calibration",
    "files",
)


PROFILE = {"name": "all", "ranges": {"tokens": [1, 2, 3], "sequences": [1, 1, 1]}}
SWAPPED = {"tokens": [3, 2, 1], "sequences": [1, 1, 1]}
ENGINE = {
    "file": None,
    "compute_capability": "8.9",
    "builder": None,
    "profiles": [PROFILE],
    "activation_bytes": [],
    "tokens_multiple": 64,
    "hardware_compatibility": "none",
    "gpu": None,
}


def test_a_manifest_with_an_engine_is_read(copied: Path) -> None:
    rewrite(copied, {**manifest_of(copied), "engine": ENGINE})
    engine = open_bundle(copied).manifest.engine
    assert engine is not None
    assert engine.profiles[0].ranges == {"tokens": (1, 2, 3), "sequences": (1, 1, 1)}


def test_the_first_format_is_read(copied: Path) -> None:
    """It was written before engines existed."""
    raw = {**manifest_of(copied), "format_version": 1}
    del raw["engine"], raw["calibration"]
    rewrite(copied, raw)
    assert open_bundle(copied).manifest.engine is None


@pytest.mark.parametrize("key", KEYS)
def test_a_manifest_that_lacks_an_entry_is_refused(copied: Path, key: str) -> None:
    raw = manifest_of(copied)
    del raw[key]
    rewrite(copied, raw)
    with pytest.raises(BundleError, match=rf"manifest\.json is damaged .*{key}"):
        open_bundle(copied)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("operators", []),
        ("operators", None),
        ("inputs", None),
        ("inputs", [{"name": "input_ids"}]),
        ("outputs", 3),
        ("limits", [1, 2, 3]),
        ("limits", {"max_tokens": 10}),
        ("limits", {"max_tokens": 1, "max_sequence_length": 1, "max_sequences": 1, "more": 1}),
        ("files", ["model.onnx"]),
        ("files", {"model.onnx": {"size": 3}}),
        ("files", {"model.onnx": 3}),
        ("files", None),
        ("labels", 3),
        # Unchecked, these would fail at the first call.
        ("limits", {"max_tokens": "x", "max_sequence_length": 8, "max_sequences": 1}),
        ("limits", {"max_tokens": 0, "max_sequence_length": -8, "max_sequences": None}),
        ("model", []),
        ("model", {}),
        ("model", {"vocab_size": "500", "hidden_size": 64}),
        ("outputs", []),
        ("outputs", [{"name": "logits", "dtype": "float32", "shape": ["tokens", 64]}]),
        ("outputs", [{"name": "last_hidden_state", "dtype": "float32", "shape": ["masks", 64]}]),
        ("outputs", [{"name": "last_hidden_state", "dtype": "float32", "shape": []}]),
        ("outputs", [{"name": "last_hidden_state", "dtype": "float32", "shape": ["tokens", "n"]}]),
        ("task", "question-answering"),
        ("reranking", {"activation": "Identity", "prompts": {}}),
        ("reranking", {"activation": "GELU", "prompts": {}, "default_prompt": None}),
        ("reranking", {"activation": "Identity", "prompts": {"a": 1}, "default_prompt": None}),
        ("reranking", {"activation": "Identity", "prompts": {}, "default_prompt": "a"}),
        ("special_tokens", []),
        ("special_tokens", {"mask": "3"}),
        ("engine", {}),
        ("engine", {**ENGINE, "profiles": []}),
        ("engine", {**ENGINE, "profiles": [{"name": "a", "ranges": {"tokens": [1, 2, 3]}}]}),
        ("engine", {**ENGINE, "profiles": [{**PROFILE, "ranges": SWAPPED}]}),
        ("engine", {**ENGINE, "compute_capability": "8"}),
        ("engine", {**ENGINE, "tokens_multiple": 0}),
        ("engine", {**ENGINE, "file": "engines/absent.engine"}),
        ("engine", {**ENGINE, "hardware_compatibility": "all"}),
        ("backend", "openvino"),
        ("precision", "int3"),
        ("task", "translation"),
        ("task", 3),
    ],
    ids=lambda value: value if isinstance(value, str) else json.dumps(value),
)
def test_a_manifest_with_a_wrong_entry_is_refused(copied: Path, key: str, value: object) -> None:
    rewrite(copied, {**manifest_of(copied), key: value})
    with pytest.raises(BundleError, match=r"manifest\.json"):
        mbert.load(copied)


def test_a_manifest_that_lists_no_model_is_refused(copied: Path) -> None:
    raw = manifest_of(copied)
    del raw["files"]["model.onnx"]
    rewrite(copied, raw)
    with pytest.raises(BundleError, match=r"model\.onnx"):
        open_bundle(copied)


@pytest.mark.parametrize("operators", [{"VarlenAttention": 2}, {"VarlenConvolution": 1}])
def test_operators_of_another_version_are_refused(copied: Path, operators: dict[str, int]) -> None:
    rewrite(copied, {**manifest_of(copied), "operators": operators})
    with pytest.raises(BundleError, match=r"operator \w+ .*version \d"):
        open_bundle(copied)


def test_a_manifest_survives_writing_and_reading(embed_bundle: Path, tmp_path: Path) -> None:
    manifest = read_manifest(embed_bundle)
    (tmp_path / "manifest.json").write_text(manifest.to_json())
    assert read_manifest(tmp_path) == manifest
