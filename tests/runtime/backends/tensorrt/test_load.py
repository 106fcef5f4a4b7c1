"""Load a bundle for a GPU on machines with the wrong GPU, library or driver."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import mbert
from mbert.errors import BackendError, BundleError, InputError
from mbert.runtime.backends import cuda as cuda_module
from mbert.runtime.backends.tensorrt import LIBRARIES, TENSORRT_RTX
from mbert.runtime.backends.tensorrt.build_process import Progress
from mbert.runtime.cli import main
from mbert.runtime.manifest import Engine, Manifest
from mbert.runtime.manifest_reader import read_manifest
from support.fake_cuda import FakeCuda
from support.fake_tensorrt import FakeTensorRT
from support.gpu_bundles import VERSION, expected, make_bundle, make_manifest

BACKENDS = ("tensorrt", "tensorrt-rtx", "onnxruntime")
Bundle = Callable[..., Path]


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    def make(**entries: Any) -> Path:
        return make_bundle(tmp_path / "bundle", make_manifest(**entries))

    return make


class Builds:
    """Stand-in for a builder: records engine and device of each build, and writes a file."""

    def __init__(self) -> None:
        self.requests: list[tuple[Engine, int]] = []

    def __call__(
        self, model: Path, path: Path, engine: Engine, progress: Progress, device: int
    ) -> None:
        assert model.name == "model.onnx"
        progress("compiling", 0.5)
        self.requests.append((engine, device))
        path.write_bytes(b"built")


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> Builds:
    fake = Builds()
    for library in LIBRARIES.values():
        monkeypatch.setattr(library, "build", fake)
    return fake


# ---- no GPU


@pytest.mark.parametrize("backend", BACKENDS)
def test_without_a_driver(bundle: Bundle, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_module, "_DRIVER", "libcuda-of-nobody.so.1")
    message = (
        rf"exported for l4 \({backend}\)\. This machine has no NVIDIA driver .*so no GPU\. "
        r"Load it where .*xport with --cpu"
    )
    with pytest.raises(BackendError, match=message):
        mbert.load(bundle(backend=backend))


def test_without_the_bindings(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(cuda_module, "_DRIVER", "libc.so.6")
    monkeypatch.setattr(cuda_module.importlib, "import_module", fail)
    with pytest.raises(BackendError, match=r"No module named 'cuda.*pip install cuda-bindings"):
        mbert.load(bundle())


def test_with_nvidias_own_runtime_and_no_driver(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real bindings' answer; on a machine with a driver there is nothing to see."""
    if cuda_module.local_devices():
        pytest.skip("this machine has a GPU")
    monkeypatch.setattr(cuda_module, "_DRIVER", "libc.so.6")
    with pytest.raises(BackendError, match=r"CUDA finds no GPU: .*\(cudaError"):
        mbert.load(bundle())


def test_with_a_driver_that_is_too_old(bundle: Bundle, give_gpu: Callable[..., FakeCuda]) -> None:
    give_gpu(driver=0)
    with pytest.raises(BackendError, match=r"CUDA finds no GPU: .*cudaErrorInsufficientDriver"):
        mbert.load(bundle())


def test_an_old_driver_is_named(
    bundle: Bundle, give_gpu: Callable[..., FakeCuda], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = give_gpu(driver=12080)
    old = (fake.cudaError_t.cudaErrorInsufficientDriver, None)
    monkeypatch.setattr(fake, "cudaGetDeviceCount", lambda: old)
    message = r"driver is for CUDA 12\.8, .*cuda-bindings are for 13\.5: .*packages for CUDA 12 "
    with pytest.raises(BackendError, match=message):
        mbert.load(bundle())


# ---- another GPU


@pytest.mark.parametrize("device", ["cuda:2", "cuda:99"])
def test_a_device_that_is_not_there(
    bundle: Bundle, give_gpu: Callable[..., FakeCuda], device: str
) -> None:
    give_gpu("8.6", "8.9")
    message = rf"no device {device}; this machine has cuda:0 \(GPU 8.6\), cuda:1 \(GPU 8.9\)"
    with pytest.raises(BackendError, match=message):
        mbert.load(bundle(), device=device)


@pytest.mark.parametrize("device", ["cpu", "gpu", "cuda:", "cuda:-1", "cuda:x", "", "0"])
def test_what_is_no_gpu(bundle: Bundle, give_gpu: Callable[..., FakeCuda], device: str) -> None:
    give_gpu()
    with pytest.raises(BackendError, match=r"expected None, 'cuda' or 'cuda:N'.*with --cpu"):
        mbert.load(bundle(), device=device)


@pytest.mark.parametrize(
    ("backend", "built", "has"),
    [
        ("tensorrt-rtx", True, "8.6"),
        ("tensorrt-rtx", True, "12.0"),
        ("tensorrt", True, "7.5"),
        ("tensorrt", False, "9.0"),
    ],
)
def test_a_gpu_of_another_kind(
    bundle: Bundle, give_gpu: Callable[..., FakeCuda], backend: str, built: bool, has: str
) -> None:
    give_gpu(has)
    message = (
        rf"exported for l4, compute capability 8\.9; cuda:0 is GPU {has}, of {has}\. Pass "
        rf"device= .* export with --gpu sm_{has.replace('.', '')}\."
    )
    with pytest.raises(BackendError, match=message):
        mbert.load(bundle(backend=backend, built=built))


A10, A40, L4 = (
    {"capability": "8.6", "name": "NVIDIA A10"},
    {"capability": "8.6", "name": "NVIDIA A40"},
    {"capability": "8.9", "name": "NVIDIA L4"},
)


def on(machine: dict[str, str], give_gpu: Callable[..., FakeCuda]) -> FakeCuda:
    return give_gpu(machine["capability"], names=[machine["name"]])


def of_tensorrt(compatibility: str, built_on: dict[str, str] = A10, **entries: Any) -> Manifest:
    return make_manifest(
        backend="tensorrt",
        compatibility=compatibility,
        capability=built_on["capability"],
        **{"gpu": built_on["name"], **entries},
    )


@pytest.mark.parametrize(
    ("manifest", "machine"),
    [
        (of_tensorrt("none"), A10),
        (of_tensorrt("none", gpu=None), A40),  # a manifest that does not say
        (of_tensorrt("none", built=False, gpu=None), A40),
        (of_tensorrt("same-compute-capability"), A40),
        (of_tensorrt("ampere-plus"), A40),
        (of_tensorrt("ampere-plus"), L4),
        (of_tensorrt("ampere-plus", L4), A10),
    ],
)
def test_gpus_that_an_engine_is_for(
    tmp_path: Path,
    give_gpu: Callable[..., FakeCuda],
    give_library: Callable[..., FakeTensorRT],
    builds: Builds,
    manifest: Manifest,
    machine: dict[str, str],
) -> None:
    give_library(manifest, on(machine, give_gpu))
    with mbert.load(make_bundle(tmp_path / "bundle", manifest)) as model:
        assert model.run([[1, 2]])[0].shape == (2, 4)


OTHER_MODEL = (
    r"was built on NVIDIA A10, and runs on that model of GPU only; cuda:0 is NVIDIA A40\. Pass "
    r"device= .*export on a machine that has NVIDIA A40, or .*--hardware-compatibility same-compute"
)
OTHER_CAPABILITY = (
    r"compute capability 8\.6; cuda:0 is NVIDIA L4, of 8\.9\. Pass device= .*--gpu sm_89"
)


@pytest.mark.parametrize(
    ("manifest", "machine", "message"),
    [
        (of_tensorrt("none"), A40, OTHER_MODEL),
        (of_tensorrt("none"), L4, OTHER_CAPABILITY),
        (of_tensorrt("same-compute-capability"), L4, OTHER_CAPABILITY),
        (
            of_tensorrt("ampere-plus"),
            {"capability": "7.5", "name": "Tesla T4"},
            r"capability 8\.6; cuda:0 is Tesla T4, of 7\.5\. Pass device= .*--gpu sm_75",
        ),
        (
            of_tensorrt("ampere-plus", built=False, gpu=None),
            L4,
            r"is NVIDIA L4, of 8\.9\. Its engine, for ampere-plus, is not built yet, which takes a "
            r"GPU of 8\.6: export on such a machine, and the bundle brings it\. .*--gpu sm_89",
        ),
    ],
)
def test_gpus_that_an_engine_is_not_for(
    tmp_path: Path,
    give_gpu: Callable[..., FakeCuda],
    manifest: Manifest,
    machine: dict[str, str],
    message: str,
) -> None:
    on(machine, give_gpu)
    with pytest.raises(BackendError, match=message):
        mbert.load(make_bundle(tmp_path / "bundle", manifest))


# ---- another library


@pytest.mark.parametrize(
    ("backend", "package"),
    [("tensorrt-rtx", "tensorrt-rtx-cu13"), ("tensorrt", "tensorrt")],
)
def test_another_version_of_the_library(
    tmp_path: Path,
    give_gpu: Callable[..., FakeCuda],
    give_library: Callable[..., FakeTensorRT],
    backend: str,
    package: str,
) -> None:
    manifest = make_manifest(backend=backend)
    give_library(manifest, give_gpu(), version="9.9")
    message = (
        rf"built by {backend} {VERSION}, .* installed is {backend} 9\.9\. .*pip install "
        rf"{package}=={VERSION}`"
    )
    with pytest.raises(BackendError, match=message):
        mbert.load(make_bundle(tmp_path / "bundle", manifest))


@pytest.mark.parametrize("backend", ["tensorrt", "tensorrt-rtx"])
def test_a_missing_library(
    bundle: Bundle,
    give_gpu: Callable[..., FakeCuda],
    monkeypatch: pytest.MonkeyPatch,
    backend: str,
) -> None:
    give_gpu()
    module = backend.replace("-", "_")
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    with pytest.raises(BackendError, match=rf"{module}.*pip install 'mbert\[{backend}\]'"):
        mbert.load(bundle(backend=backend))


def test_standard_operators_are_for_onnx_runtime_only(bundle: Bundle) -> None:
    with pytest.raises(InputError, match=r"kernels is False; .*runs on tensorrt-rtx"):
        mbert.load(bundle(), kernels=False)


def test_a_manifest_without_an_engine(bundle: Bundle, give_gpu: Callable[..., FakeCuda]) -> None:
    give_gpu()
    with pytest.raises(BundleError, match=r"describes no engine\. Export again"):
        mbert.load(bundle(engine=None))


@pytest.mark.parametrize("file", ["../outside.engine", "/outside.engine", "engines/other.engine"])
def test_an_engine_outside_of_the_bundle(
    tmp_path: Path, give_gpu: Callable[..., FakeCuda], file: str
) -> None:
    give_gpu()
    (tmp_path / "outside.engine").write_bytes(b"engine")
    bundle = make_bundle(tmp_path / "bundle", make_manifest())
    manifest = read_manifest(bundle)
    assert manifest.engine is not None
    changed = replace(manifest, engine=replace(manifest.engine, file=file))
    (bundle / "manifest.json").write_text(changed.to_json())
    with pytest.raises(BundleError, match="which is not one of the files"):
        mbert.load(bundle)


# ---- imports


def test_a_cpu_bundle_needs_nothing_of_the_gpus(tmp_path: Path) -> None:
    code = (
        "import sys, mbert.runtime, mbert.runtime.backends.onnxruntime; "
        "wanted = ('cuda', 'tensorrt', 'tensorrt_rtx', 'mbert.runtime.backends.tensorrt'); "
        "print([name for name in wanted if name in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.pop(0); {code}"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
        timeout=120,
    )
    assert (done.stdout, done.returncode) == ("[]\n", 0), done.stderr


# ---- an engine that is built at first load


@pytest.fixture
def unbuilt(
    tmp_path: Path, give_gpu: Callable[..., FakeCuda], give_library: Callable[..., FakeTensorRT]
) -> Path:
    manifest = make_manifest(built=False)
    give_library(manifest, give_gpu())
    return make_bundle(tmp_path / "bundle", manifest)


def engines(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache" / "engines").glob("*.engine"))


def test_the_engine_is_built_once(
    unbuilt: Path, builds: Builds, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "mbert")
    for _ in range(2):
        with mbert.load(unbuilt) as model:
            found = model.run([[1, 2]])[0]
            np.testing.assert_array_equal(found, expected([np.array([1, 2])], "feature-extraction"))
    manifest = read_manifest(unbuilt)
    assert manifest.engine is not None
    assert builds.requests == [(manifest.engine, 0)]
    (engine,) = engines(tmp_path)
    assert engine.read_bytes() == b"built"
    lines = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    (line,) = lines
    assert line.startswith(f"Building the TensorRT-RTX engine of {unbuilt} for GPU 8.9.")
    assert str(engine) in line
    assert "compiling: 50%" in caplog.text


def test_tensorrt_builds_on_the_gpu_that_is_loaded_on(
    tmp_path: Path,
    give_gpu: Callable[..., FakeCuda],
    give_library: Callable[..., FakeTensorRT],
    builds: Builds,
) -> None:
    """An engine is for one model of GPU: of three cards of two models, two engines."""
    manifest = make_manifest(backend="tensorrt", built=False)
    gpus = give_gpu("8.9", "8.9", "8.9", names=["NVIDIA L4", "NVIDIA L40S", "NVIDIA L4"])
    give_library(manifest, gpus)
    bundle = make_bundle(tmp_path / "bundle", manifest)
    for device in ("cuda:1", "cuda:2", "cuda:0", "cuda:1"):
        mbert.load(bundle, device=device).close()
    assert [device for _, device in builds.requests] == [1, 2]
    assert {engine.hardware_compatibility for engine, _ in builds.requests} == {"none"}
    assert len(engines(tmp_path)) == 2


def test_another_bundle_has_another_engine(unbuilt: Path, builds: Builds, tmp_path: Path) -> None:
    mbert.load(unbuilt).close()
    moved = Path(shutil.copytree(unbuilt, tmp_path / "copy"))
    mbert.load(moved).close()
    assert len(builds.requests) == 1  # the same bundle elsewhere
    changed = replace(read_manifest(moved), mbert_version="0.0.1")
    (moved / "manifest.json").write_text(changed.to_json())
    mbert.load(moved).close()
    assert len(builds.requests) == len(engines(tmp_path)) == 2


def test_another_version_builds_again(
    unbuilt: Path,
    builds: Builds,
    tmp_path: Path,
    give_gpu: Callable[..., FakeCuda],
    give_library: Callable[..., FakeTensorRT],
) -> None:
    mbert.load(unbuilt).close()
    give_library(read_manifest(unbuilt), give_gpu(), version="1.8")
    mbert.load(unbuilt).close()
    assert len(builds.requests) == len(engines(tmp_path)) == 2


def test_without_a_cache_nothing_is_left(
    unbuilt: Path, builds: Builds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr("mbert.runtime.backends.tensorrt.cache.cache_folder", lambda: None)
    with mbert.load(unbuilt) as model:
        assert list((tmp_path / "temporary").iterdir()) == []
        assert model.run([[1, 2]])[0].shape == (2, 4)
    assert len(builds.requests) == 1


def test_a_failed_build_leaves_nothing(
    unbuilt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any, **named: Any) -> None:
        raise BackendError("no such luck")

    monkeypatch.setattr(TENSORRT_RTX, "build", fail)
    with pytest.raises(BackendError, match="no such luck"):
        mbert.load(unbuilt)
    assert engines(tmp_path) == []


def test_the_real_builder_at_first_load(
    unbuilt: Path, monkeypatch: pytest.MonkeyPatch, give_library: Callable[..., FakeTensorRT]
) -> None:
    """The graph of these bundles is empty: TensorRT-RTX says so, and the process lives."""
    monkeypatch.undo()
    monkeypatch.setattr(cuda_module, "_runtime", FakeCuda)
    monkeypatch.setattr(cuda_module, "_DRIVER", "libc.so.6")
    assert TENSORRT_RTX.unavailable() is None
    with pytest.raises(BackendError, match=r"TensorRT-RTX 1.* cannot build .*model\.onnx"):
        mbert.load(unbuilt)


# ---- the command line


def test_the_command_line_takes_a_device(bundle: Bundle, give_gpu: Callable[..., FakeCuda]) -> None:
    give_gpu()
    done = CliRunner().invoke(main, [str(bundle()), "--text", "a", "--device", "cuda:3"])
    assert done.exit_code == 1
    assert "There is no device cuda:3; this machine has cuda:0 (GPU 8.9)." in done.output
