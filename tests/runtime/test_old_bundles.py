"""Bundles that an earlier mbert wrote load, and compute what they computed then.

The archive holds the outputs of two instruction sets of mbert's kernels. ONNX Runtime computes the
rest and chooses its kernels by the processor: the bits are compared where everything that decides
it is as it was when the outputs were recorded (``kernels.json``), and the values elsewhere.
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

import mbert
from support.isas import ISAS
from support.old_bundles import ARCHIVE, GPU, NAMES, PRECISIONS, answers, kernels_of_this_machine

RECORDED = ("scalar", "avx2")
# Of the largest value, between processors. A float that is rounded to 8 bits may come out a step
# away, which differs by more.
TOLERANCES = {"fp32": 2e-5, "bf16": 5e-3, "int8": 5e-3}


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", NAMES)
def test_an_old_bundle_computes_what_it_did(
    name: str, precision: str, isa: str, bundles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = bundles / f"{name}-{precision}"
    monkeypatch.setenv("MBERT_ISA", isa)
    with mbert.load(bundle, threads=1) as model:
        found = answers(model, name)
    with np.load(bundles / f"{isa if isa in RECORDED else 'scalar'}.npz") as arrays:
        expected = {
            key.partition("/")[2]: arrays[key]
            for key in arrays.files
            if key.startswith(f"{bundle.name}/")
        }
    assert found.keys() == expected.keys()
    recorded_on = json.loads((bundles / "kernels.json").read_text())
    exactly = isa in RECORDED and kernels_of_this_machine() == recorded_on
    for key, array in expected.items():
        assert (found[key].dtype, found[key].shape) == (array.dtype, array.shape)
        if exactly:
            assert found[key].tobytes() == array.tobytes(), key
        else:
            atol = TOLERANCES[precision] * np.abs(array).max()
            np.testing.assert_allclose(found[key], array, rtol=0, atol=atol, err_msg=key)


def test_precisions_and_instruction_sets_are_told_apart(bundles: Path) -> None:
    """A test of the test: the tolerances between processors hide no precision."""
    for isa in RECORDED:
        with np.load(bundles / f"{isa}.npz") as arrays:
            for name in NAMES:
                keys = [k for k in arrays.files if k.startswith(f"{name}-fp32/")]
                for precision in ("bf16", "int8"):
                    others = [k.replace("-fp32/", f"-{precision}/", 1) for k in keys]
                    errors = [
                        np.abs(arrays[one] - arrays[other]).max() / np.abs(arrays[one]).max()
                        for one, other in zip(keys, others, strict=True)
                    ]
                    assert max(errors) > 10 * TOLERANCES["fp32"]


def test_the_manifest_of_an_old_gpu_bundle_is_read(
    bundles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What is missing is the GPU; the bundle is sound.
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(mbert.BackendError, match=r"(?i)GPU|tensorrt|cuda"):
        mbert.load(bundles / GPU)
