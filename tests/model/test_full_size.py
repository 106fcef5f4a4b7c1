"""ModernBERT-base at full size: the memory of an export, W2 within the bound, 8,192 tokens."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mbert
from mbert.bench.workloads import WORKLOADS
from mbert.runtime.bundle import open_bundle
from support.checkpoints import make_model, save_model
from support.comparison import judge, random_sequences

pytestmark = [pytest.mark.full_size, pytest.mark.thorough]

MB = 1_000_000
EXPORT_PEAK = 4000 * MB
# Of the runtime for 8,192 tokens, above the loaded model.
EXTRA_PEAK = {True: 700 * MB, False: 1500 * MB}
VOCABULARY = 50_000

# Prints how far the peak of a call of 8,192 tokens lies above what loading took; saves the result.
MEASURE = """
import sys
import numpy as np
import mbert
from mbert.bench.memory import peak_bytes, resident_bytes

with mbert.load(sys.argv[1], kernels=sys.argv[2] == "True") as model:
    model.run([np.arange(16)])  # the weights are mapped: the first call brings them
    loaded = resident_bytes()
    ids = np.random.default_rng(0).integers(5, 50000, 8192)
    hidden = model.run([ids])[0]
print(peak_bytes() - loaded)
np.save(sys.argv[3], hidden)
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    return save_model(make_model("feature-extraction"), folder / "checkpoint")


def export(base: Path, *target: str, peak: int) -> Path:
    """Run the command in a process whose memory is watched."""
    output = base.parent / "-".join(("bundle", *target)).replace("--", "")
    command = [Path(sys.executable).parent / "mbert-export", base, *target, "-o", output, "--quiet"]
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    assert usage.ru_maxrss * 1024 <= peak
    return output


@pytest.fixture(scope="module")
def bundle(base: Path) -> Path:
    return export(base, "--cpu", peak=EXPORT_PEAK)


def test_an_engine_of_base(base: Path) -> None:
    """One fused kernel a layer, or the export fails; the float16 graph within twice PyTorch."""
    folder = export(base, "--gpu", "l4", peak=6000 * MB)
    manifest = open_bundle(folder).manifest
    engine = manifest.engine
    assert engine is not None
    assert engine.file is not None
    weights = (folder / "model.onnx.data").stat().st_size
    assert manifest.files[engine.file].size >= 0.95 * weights > 280 * MB
    assert max(engine.activation_bytes) < 300 * MB  # 8,192 tokens
    record = manifest.verification
    assert record["precision"] == "fp16"
    (judged,) = record["outputs"].values()
    (check,) = record["checks"]["standard operators"].values()
    assert check["max_abs_error"] <= 2 * judged["pytorch_error"]


def test_w2_within_bound(base: Path, bundle: Path) -> None:
    """Every sequence, with the kernels and with the functions alone."""
    lengths = WORKLOADS["W2"].lengths
    judgement = judge(base, "feature-extraction", random_sequences(lengths, VOCABULARY))
    for kernels in (True, False):
        with mbert.load(bundle, kernels=kernels) as model:
            errors = judgement.errors(model.run(judgement.sequences))
        assert max(errors) <= judgement.tolerance, (kernels, errors)


def test_8192_tokens_right_and_in_bounded_memory(bundle: Path, tmp_path: Path) -> None:
    results = []
    for kernels, allowed in EXTRA_PEAK.items():
        output = tmp_path / f"{kernels}.npy"
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, bundle, str(kernels), output],
            capture_output=True,
            text=True,
            check=True,
            cwd=tmp_path,  # not the repository, whose folder mbert/ hides the installed package
        )
        print(kernels, int(done.stdout) / MB, "MB above the loaded model")
        assert int(done.stdout) <= allowed
        results.append(np.load(output))
    # Two computations that share nothing but the graph; the float64 oracle judges both below.
    with_kernels, with_functions = results
    difference = np.abs(with_kernels - with_functions).max()
    assert difference <= 2e-5 * np.abs(with_functions).max()


def test_8192_tokens_within_bound(tmp_path: Path) -> None:
    """Fewer layers and heads, for the sake of the dense float64 judge."""
    shape = {"num_hidden_layers": 4, "hidden_size": 128, "num_attention_heads": 2}
    checkpoint = save_model(make_model("feature-extraction", **shape), tmp_path / "checkpoint")
    mbert.convert(checkpoint, tmp_path / "bundle")
    judgement = judge(checkpoint, "feature-extraction", random_sequences([8192], VOCABULARY))
    for kernels in (True, False):
        with mbert.load(tmp_path / "bundle", kernels=kernels) as model:
            errors = judgement.errors(model.run(judgement.sequences))
        assert max(errors) <= judgement.tolerance, kernels
