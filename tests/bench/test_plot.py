"""The plot of an invented report."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import pytest

from mbert.bench.figures import figures, ratio
from mbert.bench.machine import this_machine
from mbert.bench.measurement import Measurement, Result
from mbert.bench.plot import plot
from mbert.bench.report import Loaded, Report
from mbert.bench.sgemm import Ceiling

LENGTH_AXIS = "tokens of one sequence"
SPREAD_AXIS = "standard deviation of the lengths / their mean"


def measurement(
    name: str, sequences: int, spread: float, failed: tuple[str, ...] = ()
) -> Measurement:
    results = {}
    for program, seconds in (("mbert", 1.0), ("onnxruntime", 2.0)):
        if program not in failed:
            results[program] = Result(
                figures=figures([seconds], 100),
                peak_bytes=1,
                peak_was_reset=True,
                settled=True,
                turns=[[seconds]],
                ratio=None if program == "mbert" else ratio([[1.0]], [[seconds]]),
            )
    failures = dict.fromkeys(failed, "out of memory")
    return Measurement(name, "", sequences, 100, 150, spread, 1e9, results, failures)


def drawn(measurements: list[Measurement], path: Path) -> str:
    loaded = Loaded("fp32", {}, 1.0, 1)
    report = Report(
        machine=this_machine(),
        model={"source": "made up"},
        threads=2,
        programs={"mbert": loaded, "onnxruntime": loaded},
        sgemm=Ceiling(768, 2304, {"numpy": [1e11]}),
        workloads=measurements,
        skipped={},
        left_out={},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(matplotlib.rcParams, "svg.fonttype", "none")  # text as text, not as paths
        plot(report, path)
    return path.read_text()


def test_panels_are_drawn_where_there_is_something_to_compare(tmp_path: Path) -> None:
    short, long = measurement("W1-16", 1, 0.0), measurement("W4-8192", 1, 0.0, ("onnxruntime",))
    even, mixed = measurement("W3", 8, 0.0), measurement("W2", 32, 0.7)
    everything = drawn([short, long, even, mixed], tmp_path / "a.svg")
    for text in ("W1-16", "W4-8192", "W3", "W2", "onnxruntime", LENGTH_AXIS, SPREAD_AXIS):
        assert text in everything
    bars = drawn([short, mixed], tmp_path / "b.svg")
    assert LENGTH_AXIS not in bars
    assert SPREAD_AXIS not in bars
    assert LENGTH_AXIS in drawn([short, long], tmp_path / "c.svg")
    assert SPREAD_AXIS in drawn([even, mixed], tmp_path / "d.svg")
