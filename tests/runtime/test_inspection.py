"""``mbert inspect``."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from click.testing import CliRunner, Result

from mbert.cli import main
from mbert.runtime.inspection import details
from mbert.runtime.manifest_reader import read_manifest
from mbert.runtime.tasks.embedding import EmbeddingSettings as Embedding
from mbert.runtime.tasks.reranking import RerankingSettings as Reranking


def inspect(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["inspect", *map(str, arguments)])


def rows(result: Result) -> dict[str, list[str]]:
    """The values of each row, by its name."""
    assert result.exit_code == 0, result.output
    found: dict[str, list[str]] = {}
    for line in result.stdout.splitlines():
        name, value = line.split("  ", 1)
        found.setdefault(name, []).append(value.strip())
    return found


def test_a_bundle_says_what_it_is(classify_bundle: Path) -> None:
    found = rows(inspect(classify_bundle))
    manifest = read_manifest(classify_bundle)
    assert found["task"] == ["text-classification"]
    assert found["target"] == ["cpu, fp32, onnxruntime"]
    assert found["model"] == ["3 layers, hidden 64, up to 1024 tokens"]
    assert found["one call"] == ["up to 16384 tokens, 2048 sequences"]
    assert found["input"] == ["input_ids int32 [tokens]", "cu_seqlens int32 [sequences + 1]"]
    assert found["output"] == ["logits float32 [sequences, 3]"]
    assert found["labels"] == ["3: good, bad, neither"]
    ids = {"pad 0", "cls 1", "sep 2", "mask 3", "unk 4"}
    assert set(found["special tokens"][0].split(", ")) == ids
    assert found["checkpoint"] == ["classifier"]
    assert found["licence"] == ["not stated by the model card"]
    checks = manifest.verification["checks"]
    for way in ("plugin", "functions"):
        error = checks[way]["logits"]["max_abs_error"]
        (shown,) = found[f"error, {way}, fp32, logits"]
        assert shown.startswith(f"{error:.2e} (tolerance ")
    files = {value.split()[0]: value for value in found["file"]}
    assert set(files) == set(manifest.files)
    assert files["model.onnx.data"].endswith("MB")
    assert files["config.json"].endswith("kB")


def test_prompts_and_scores_are_shown(embed_bundle: Path) -> None:
    prompts = {"query": "search: ", "document": ""}
    manifest = replace(
        read_manifest(embed_bundle),
        embedding=Embedding(prompts, "query", "dot", None, normalized=True),
        reranking=Reranking("sigmoid", {"web": "find: "}, None),
    )
    found = list(details(manifest))
    for row in (
        ("vectors", "compared by dot, of length 1"),
        ("prompt", "query: 'search: ' (default)"),
        ("prompt", "document: ''"),
        ("activation", "sigmoid"),
        ("prompt", "web: 'find: '"),
    ):
        assert row in found


def test_what_a_task_does_not_have_is_not_shown(embed_bundle: Path) -> None:
    found = rows(inspect(embed_bundle))
    assert found["pooling"] == ["mean"]
    assert not {"labels", "problem type", "engine"} & set(found)


def test_json_is_the_manifest_and_the_size(embed_bundle: Path) -> None:
    result = inspect(embed_bundle, "--json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert found.pop("bundle") == str(embed_bundle)
    assert found.pop("size") == sum(entry["size"] for entry in found["files"].values())
    assert found == json.loads((embed_bundle / "manifest.json").read_text())


def test_a_record_of_an_older_bundle_is_no_obstacle(
    embed_bundle: Path, edited: Callable[..., Path]
) -> None:
    found = rows(inspect(edited(embed_bundle, verification={}, precision="int8")))
    assert not [name for name in found if name.startswith(("error", "cosine"))]
    assert "size" in found


def test_the_errors_of_an_older_record_are_shown(
    embed_bundle: Path, edited: Callable[..., Path]
) -> None:
    checks = {"plugin": {"max_abs_error": 1e-6}}
    old = {"judge": "PyTorch", "tolerance": 2e-6, "largest_value": 3.0, "checks": checks}
    found = rows(inspect(edited(embed_bundle, verification=old)))
    shown = found["error, plugin, fp32, last_hidden_state"]
    assert shown == ["1.00e-06 (tolerance 2.00e-06, largest value 3)"]


def test_a_damaged_bundle_is_not_described(
    embed_bundle: Path, edited: Callable[..., Path], tmp_path: Path
) -> None:
    bundle = edited(embed_bundle)
    (bundle / "model.onnx").write_bytes(b"short")
    for path, message in ((bundle, "model.onnx"), (tmp_path, "manifest.json")):
        result = inspect(path)
        assert result.exit_code == 1
        assert message in " ".join(result.stderr.split())
        assert result.stdout == ""
