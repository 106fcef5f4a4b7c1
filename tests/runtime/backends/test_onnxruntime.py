"""Bundles for ONNX Runtime on a GPU never run on the CPU instead.

The ONNX Runtime of the tests is the one for CPUs; what it would do on a GPU is not tested here.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnxruntime as ort
import pytest

import mbert
from mbert.errors import BackendError
from support.fake_cuda import FakeCuda
from support.gpu_bundles import make_bundle, make_manifest


@pytest.fixture
def bundle(tmp_path: Path, give_gpu: Callable[..., FakeCuda]) -> Path:
    give_gpu()
    return make_bundle(tmp_path / "bundle", make_manifest(backend="onnxruntime"))


@pytest.mark.parametrize("kernels", [True, False])
def test_an_onnx_runtime_without_cuda(bundle: Path, kernels: bool) -> None:
    if "CUDAExecutionProvider" in ort.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    message = r"ONNX Runtime \S+ has no CUDA\. .*pip install onnxruntime-gpu`"
    with pytest.raises(BackendError, match=message):
        mbert.load(bundle, kernels=kernels)


def test_a_missing_library_of_operators(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setenv("MBERT_ONNXRUNTIME_CUDA_LIBRARY", str(tmp_path / "absent.so"))
    with pytest.raises(BackendError, match=r"absent\.so, which is not a file"):
        mbert.load(bundle)


def test_a_provider_that_does_not_start(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime falls back to the CPU, which must raise."""

    class Session:
        asked: list[object]

        def __init__(self, model: str, options: object, providers: list[object]) -> None:
            Session.asked = providers

        def get_providers(self) -> list[str]:
            return ["CPUExecutionProvider"]

    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(ort, "InferenceSession", Session)
    message = r"cannot start CUDA on cuda:0 \(GPU 8\.9\): its CUDA or cuDNN libraries are missing"
    with pytest.raises(BackendError, match=message):
        mbert.load(bundle, kernels=False)
    options = {"device_id": 0, "use_tf32": 0}  # float32 stays float32
    assert Session.asked == [("CUDAExecutionProvider", options), "CPUExecutionProvider"]
