"""Bundles of every precision in the oldest ONNX Runtime that is supported."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import mbert
from support.export_cache import ExportCache
from support.native import ROOT

OLDEST = ROOT / "build" / "oldest-onnxruntime"
SEQUENCES = [np.arange(3, 3 + n) for n in (40, 1, 150)]
PROGRAM = """
import sys
import numpy as np, onnxruntime
import mbert
bundle, kernels, given, found = sys.argv[1:]
with np.load(given) as sequences, mbert.load(bundle, kernels=kernels == "True") as model:
    np.savez(found, *model.run([sequences[name] for name in sequences.files]))
print(onnxruntime.__version__)
"""


def _lowest_version() -> str:
    (lowest,) = re.findall(r"^onnxruntime>=([\d.]+)$", "\n".join(requires("mbert") or []), re.M)
    return str(lowest)


def _run_in_oldest(bundle: Path, kernels: bool, folder: Path) -> list[NDArray[Any]]:
    path = os.pathsep.join(filter(None, (str(OLDEST), os.environ.get("PYTHONPATH"))))
    given, found = folder / "given.npz", folder / "found.npz"
    np.savez(given, *SEQUENCES)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, bundle, str(kernels), given, found],
        env={**os.environ, "PYTHONPATH": path},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{_lowest_version()}."), "`make oldest` has another release"
    with np.load(found) as arrays:
        return [arrays[name] for name in arrays.files]


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_it_computes_the_same(
    small_checkpoint: Path, exports: ExportCache, tmp_path: Path, precision: str
) -> None:
    assert (OLDEST / ".ready").exists(), f"{OLDEST} is missing: run `make oldest`."
    if not (OLDEST / "onnxruntime").exists():
        pytest.skip("there is no wheel of the oldest ONNX Runtime for this Python")
    bundle = exports(small_checkpoint, "feature-extraction", precision)
    # The norms around the layers are ONNX Runtime's, and rounding makes a step of a last bit.
    allowed = {"fp32": 1e-4, "bf16": 0.05, "int8": 0.05}[precision]
    for kernels in (True, False):
        with mbert.load(bundle, kernels=kernels) as model:
            expected = model.run(SEQUENCES)
        found = _run_in_oldest(bundle, kernels, tmp_path)
        for one, right in zip(found, expected, strict=True):
            assert np.abs(one - right).max() <= allowed * np.abs(right).max()
