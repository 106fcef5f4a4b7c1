"""mbert-bench from end to end, on small checkpoints."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mbert.bench import benchmark
from mbert.bench.cli import main
from mbert.bench.programs import PEERS
from mbert.bench.sgemm import Ceiling
from mbert.bench.workloads import WORKLOADS, batches, padded_tokens
from support.checkpoints import make_checkpoint
from support.export_cache import ExportCache
from support.text import add_tokenizer

PNG = b"\x89PNG\r\n\x1a\n"


def bench(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["run", *map(str, arguments)])


@pytest.fixture
def quick_sgemm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace seconds of matrix products."""

    def measure(ceiling: Ceiling, *arguments: object) -> None:
        ceiling.rates.setdefault("numpy", []).append(1e11)

    monkeypatch.setattr(benchmark, "measure_sgemm", measure)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the peers' models of the small checkpoint."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture(scope="module")
def bundle(small_checkpoint: Path, exports: ExportCache) -> Path:
    return exports(small_checkpoint, "feature-extraction")


@pytest.mark.thorough
def test_table_json_and_plot(
    bundle: Path,
    small_checkpoint: Path,
    kept: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Relative paths, since the programs run in another directory.
    monkeypatch.chdir(tmp_path)
    result = bench(
        os.path.relpath(bundle), "--checkpoint", os.path.relpath(small_checkpoint),
        "--against", "all", "--workloads", "W2s,W1-16,W4-2048", "--seconds", 0,
        "--threads", 1, "--json", "out.json", "--plot", "out.png", "--keep", os.path.relpath(kept),
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    for text in ("W1-16", "W2s", "mbert", *PEERS, "real tokens/s", "W4-2048 was skipped", "share"):
        assert text in result.stdout
    assert (tmp_path / "out.png").read_bytes().startswith(PNG)

    report = json.loads((tmp_path / "out.json").read_text())
    assert report["format_version"] == 1
    assert report["threads"] == 1
    assert report["model"]["task"] == "feature-extraction"
    assert report["machine"]["processor"]
    assert report["machine"]["instructions"]
    assert report["programs"]["mbert"]["versions"].keys() == {"mbert", "onnxruntime", "numpy"}
    assert report["programs"]["pytorch"]["versions"].keys() == {"torch", "transformers"}
    versions = {name: report["programs"][name]["versions"] for name in PEERS}
    assert versions["onnxruntime"] == versions["onnxruntime-int8"]
    assert versions["onnxruntime"].keys() == {"onnxruntime"}
    assert versions["openvino"]["precision"] == "f32"
    assert versions["openvino"]["threads"] == "1"
    assert {name: made["precision"] for name, made in report["programs"].items()} == {
        "mbert": "fp32",
        **{name: kind.precision for name, kind in PEERS.items()},
    }
    sgemm = report["sgemm"]
    assert (sgemm["columns_in"], sgemm["columns_out"]) == (64, 192)
    assert sgemm["rates"].keys() == {"numpy", "torch", "onnxruntime"}
    assert all(len(rates) == 2 for rates in sgemm["rates"].values())
    assert sgemm["best"] == max(rate for rates in sgemm["rates"].values() for rate in rates)
    assert report["left_out"] == {}
    assert "takes 1,024" in report["skipped"]["W4-2048"]
    assert [entry["workload"] for entry in report["workloads"]] == ["W1-16", "W2s"]
    for entry in report["workloads"]:
        lengths = WORKLOADS[entry["workload"]].lengths
        assert entry["tokens"] == sum(lengths)
        for name, found in entry["results"].items():
            assert len(found["turns"]) >= 3
            figures = found["figures"]
            assert figures["calls"] == sum(len(calls) for calls in found["turns"])
            # Real tokens, for all programs.
            assert figures["tokens_per_second"] == pytest.approx(sum(lengths) / figures["median"])
            assert found["peak_bytes"] > 0
            whole_life = report["programs"][name]["peak_bytes"]
            assert whole_life >= found["peak_bytes"]
            assert found["share"] == pytest.approx(
                entry["flop"] / figures["median"] / sgemm["best"]
            )
            if name == "mbert":
                assert found["agreement"] is found["ratio"] is found["compared_with"] is None
                continue
            assert found["compared_with"] == found["agreement"]["reference"] == "mbert"
            assert found["ratio"]["low"] <= found["ratio"]["high"]
            agreement = found["agreement"]
            # OpenVINO computes bfloat16 in float32 on processors without it.
            widened = name == "openvino-bf16" and versions[name]["precision"] == "f32"
            if PEERS[name].precision == "fp32" or widened:
                assert agreement["max_abs_error"] <= 1e-4 * agreement["largest_value"]
            else:
                assert 0.98 < agreement["cosine"] < 1 - 1e-9
        assert entry["results"].keys() == {"mbert", *PEERS}
        assert entry["failures"] == {}
    lengths = WORKLOADS["W2s"].lengths
    assert report["workloads"][1]["padded_tokens"] == padded_tokens(
        lengths, batches(lengths, 8, True)
    )


@pytest.mark.thorough
@pytest.mark.usefixtures("quick_sgemm")
@pytest.mark.parametrize("task", ["fill-mask", "text-classification", "question-answering"])
def test_other_tasks_agree(task: str, exports: ExportCache, tmp_path: Path) -> None:
    checkpoint = add_tokenizer(make_checkpoint(tmp_path / "checkpoint", task))
    # Standard output has the JSON alone; the table is in standard error.
    result = bench(
        exports(checkpoint, task), "--checkpoint", checkpoint, "--against", "pytorch",
        "--workloads", "W2s", "--seconds", 0, "--json", "-",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["model"]["task"] == task
    assert report["workloads"][0]["results"]["pytorch"]["agreement"]["largest_value"] > 0
    assert "real tokens/s" in result.stderr


@pytest.mark.usefixtures("quick_sgemm")
def test_mbert_alone(bundle: Path, tmp_path: Path) -> None:
    plot = tmp_path / "out.svg"
    result = bench(bundle, "--workloads", "W1-16", "--seconds", 0, "--plot", plot)
    assert result.exit_code == 0, result.output
    assert "pytorch" not in result.stdout
    assert plot.read_text().startswith("<?xml")


@pytest.mark.usefixtures("quick_sgemm")
def test_bundles_of_several_precisions(bundle: Path, tmp_path: Path) -> None:
    # The same bundle under another precision, which is compared by cosine.
    other = shutil.copytree(bundle, tmp_path / "other")
    manifest = json.loads((other / "manifest.json").read_text())
    (other / "manifest.json").write_text(json.dumps({**manifest, "precision": "bf16"}))
    arguments = ("--workloads", "W1-16,W2", "--seconds", 0, "--plot", tmp_path / "out.svg")
    result = bench(bundle, other, *arguments, "--json", "-")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert list(report["programs"]) == ["mbert", "mbert-bf16"]
    for entry in report["workloads"]:
        found = entry["results"]["mbert-bf16"]
        assert found["compared_with"] == found["agreement"]["reference"] == "mbert"
        assert found["agreement"]["cosine"] == pytest.approx(1)

    model = {**manifest["model"], "vocab_size": 600}
    (other / "manifest.json").write_text(json.dumps({**manifest, "model": model}))
    for again, message in ((bundle, "are both in fp32"), (other, "differ in model")):
        result = bench(bundle, again, *arguments)
        assert result.exit_code == 1
        assert message in result.stderr


@pytest.mark.usefixtures("quick_sgemm")
def test_a_peer_that_computes_something_else_is_caught(bundle: Path, tmp_path: Path) -> None:
    other = make_checkpoint(tmp_path / "other", local_attention=16)
    result = bench(
        bundle, "--checkpoint", other, "--against", "pytorch", "--workloads", "W1-16,W1-128",
        "--seconds", 0, "--json", tmp_path / "out.json",
    )  # fmt: skip
    assert result.exit_code == 1
    # The narrower window is shorter than 16 tokens.
    assert "W1-16: mbert and pytorch differ by" in result.stderr
    assert not result.stdout
    assert not (tmp_path / "out.json").exists()


@pytest.mark.thorough
@pytest.mark.usefixtures("quick_sgemm")
def test_random_shape_can_be_kept(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    arguments = ("--random", "tiny", "--keep", folder, "--workloads", "W1-16", "--seconds", 0)
    result = bench(*arguments, "--against", "pytorch", "--json", "-")
    assert result.exit_code == 0, result.output
    model = json.loads(result.stdout)["model"]
    assert (model["layers"], model["hidden_size"], model["vocab_size"]) == (7, 256, 50368)
    config = json.loads((folder / "random-tiny" / "config.json").read_text())
    assert config["intermediate_size"] == 384
    assert (folder / "random-tiny-bundle" / "manifest.json").exists()

    again = bench(*arguments)
    assert again.exit_code == 1
    assert "random-tiny exists already" in again.stderr


@pytest.mark.usefixtures("quick_sgemm")
def test_a_missing_peer_is_left_out(
    bundle: Path,
    small_checkpoint: Path,
    kept: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in ("transformers", "openvino"):
        (tmp_path / f"{module}.py").write_text(f"raise ImportError(name='{module}')\n")
    path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    monkeypatch.setenv("PYTHONPATH", path)
    arguments = (bundle, "--checkpoint", small_checkpoint, "--workloads", "W1-16", "--seconds", 0)
    result = bench(*arguments, "--against", "pytorch")
    assert result.exit_code == 1
    assert "transformers is missing" in result.stderr
    assert "pip install 'mbert[bench]'" in result.stderr

    (tmp_path / "transformers.py").unlink()
    result = bench(*arguments, "--against", "onnxruntime,openvino", "--keep", kept, "--json", "-")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["programs"].keys() == {"mbert", "onnxruntime"}
    assert "openvino is missing" in report["left_out"]["openvino"]
    assert "openvino was left out" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "--random"),
        (["{bundle}", "--random", "base"], 2, "--random"),
        (["--random", "base", "--checkpoint", "{here}"], 2, "--checkpoint"),
        (["{bundle}", "--keep", "{here}"], 2, "--random"),
        (["{bundle}", "--against", "torch"], 1, "torch"),
        (["{bundle}", "--against", "pytorch"], 1, "--checkpoint"),
        (["{bundle}", "--workloads", "W7"], 1, "W7"),
        (["{bundle}", "--workloads", "W4-2048"], 1, "2,048"),
        (["{bundle}", "--plot", "{here}/x.gif"], 1, ".png"),
        (["{bundle}", "--json", "{here}/no/x.json"], 1, "no folder"),
        (["{here}"], 1, "not a bundle"),
    ],
)
def test_refusals(
    arguments: list[str], code: int, message: str, bundle: Path, tmp_path: Path
) -> None:
    result = bench(*(a.format(bundle=bundle, here=tmp_path) for a in arguments))
    assert result.exit_code == code
    assert message in result.stderr


def test_fill_mask_without_a_mask_token(small_checkpoint: Path, exports: ExportCache) -> None:
    result = bench(exports(small_checkpoint, "fill-mask"), "--workloads", "W1-16")
    assert result.exit_code == 1
    assert "mask" in result.stderr
