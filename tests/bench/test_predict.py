"""mbert-bench predict: its tables, its record, and refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import mbert
from mbert.bench.cli import main
from mbert.bench.workloads import WORKLOADS
from mbert.export.targets import TARGETS
from support.export_cache import ExportCache

MARK = "predicted, not measured"


def predict(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["predict", *map(str, arguments)])


def test_tables_and_record(tmp_path: Path) -> None:
    result = predict("l4", "--workloads", "W1-16,W3", "--json", tmp_path / "out.json")
    assert result.exit_code == 0, result.output
    # Above each table: that of the whole, and one for each workload.
    assert result.stdout.count(MARK) == 3
    for text in ("base in fp16 on l4", "Assumed, not measured", "300 GB/s", "121 TFLOP/s", "Wqkv"):
        assert text in result.stdout
    report = json.loads((tmp_path / "out.json").read_text())
    assert report["kind"] == MARK
    assert (report["target"], report["precision"], report["source"]) == ("l4", "fp16", "base")
    assert report["figures"]["bandwidth_gbs"] == 300
    assert report["assumptions"]["projection"] == 0.7
    assert [entry["workload"] for entry in report["workloads"]] == ["W1-16", "W3"]
    for entry in report["workloads"]:
        assert entry["tokens"] == sum(WORKLOADS[entry["workload"]].lengths)
        assert len(entry["layer_seconds"]) == 22
        assert entry["seconds"] == pytest.approx(sum(r["seconds"] for r in entry["operators"]))


def test_every_workload_by_default_and_the_table_apart_from_json() -> None:
    result = predict("H100", "--shape", "large", "--json", "-")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert [entry["workload"] for entry in report["workloads"]] == list(WORKLOADS)
    assert (report["source"], len(report["shape"]["windows"])) == ("large", 28)
    assert MARK in result.stderr


@pytest.mark.parametrize("name", TARGETS)
def test_every_card(name: str) -> None:
    result = predict(name, "--shape", "tiny", "--workloads", "W1-128")
    assert result.exit_code == 0, result.output


def test_shape_of_a_bundle(small_checkpoint: Path, exports: ExportCache) -> None:
    bundle = exports(small_checkpoint, "feature-extraction")
    result = predict("a100", "--bundle", bundle, "--precision", "bf16", "--json", "-")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    model = mbert.load(bundle).info.model
    assert report["precision"] == "bf16"
    assert report["shape"]["hidden_size"] == model["hidden_size"]
    assert report["shape"]["windows"] == [layer["window"] for layer in model["layers"]]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["h10"], 1, "h100"),
        (["sm_89"], 1, "sm_89"),
        (["t4", "--precision", "bf16"], 1, "8.0"),
        (["l4", "--workloads", "W7"], 1, "W7"),
        (["l4", "--bundle", "{here}"], 1, "not a bundle"),
        (["l4", "--json", "{here}/no/x.json"], 1, "no folder"),
        (["l4", "--bundle", "{here}", "--shape", "base"], 2, "--shape"),
    ],
)
def test_refusals(arguments: list[str], code: int, message: str, tmp_path: Path) -> None:
    result = predict(*(argument.format(here=tmp_path) for argument in arguments))
    assert result.exit_code == code
    assert message in result.stderr
