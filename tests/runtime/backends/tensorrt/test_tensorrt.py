"""Build with TensorRT, on doubles of the library and of GPUs."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from mbert.errors import BackendError
from mbert.runtime.backends.tensorrt import TENSORRT
from mbert.runtime.backends.tensorrt import tensorrt as tensorrt_module
from mbert.runtime.backends.tensorrt.build_process import BuildReport, BuildRequest
from mbert.runtime.manifest import Engine
from support.fake_builder import FakeBuilderLibrary
from support.fake_cuda import FakeCuda
from support.fake_tensorrt import FakeTensorRT
from support.gpu_bundles import VERSION, make_manifest

PLUGINS = "/lib/plugins.so"
NAMES = ("NVIDIA A100-SXM4-40GB", "NVIDIA L4", "NVIDIA RTX 6000 Ada Generation")


@pytest.fixture
def library(
    give_gpu: Callable[..., FakeCuda], give_library: Callable[..., FakeTensorRT]
) -> FakeBuilderLibrary:
    gpus = give_gpu("8.0", "8.9", "8.9", names=NAMES)
    fake = give_library(make_manifest(backend="tensorrt"), gpus, kind=FakeBuilderLibrary)
    assert isinstance(fake, FakeBuilderLibrary)
    return fake


def engine_for(compute_capability: str = "8.9") -> Engine:
    engine = make_manifest(backend="tensorrt").engine
    assert engine is not None
    return replace(engine, compute_capability=compute_capability)


@pytest.fixture
def request_(tmp_path: Path) -> BuildRequest:
    """The request for a graph with one of mbert's operators."""
    node = helper.make_node("VarlenPooling", ["x"], ["y"], domain="mbert")
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT16, ["tokens", 8]) for n in "xy")
    onnx.save(helper.make_model(helper.make_graph([node], "g", [x], [y])), tmp_path / "model.onnx")
    return BuildRequest(
        "tensorrt",
        str(tmp_path / "model.onnx"),
        str(tmp_path / "a.engine"),
        "8.9",
        engine_for().profiles,
        device=1,
        plugins=(PLUGINS,),
    )


def here(request: BuildRequest, warnings: list[str] | None = None) -> BuildReport:
    warn = (warnings if warnings is not None else []).append
    return TENSORRT.build_here(request, lambda phase, fraction: None, warn)


# ---- the engine


def test_the_parser_finds_the_plugins_and_the_engine_brings_them(
    library: FakeBuilderLibrary, request_: BuildRequest
) -> None:
    here(request_)
    assert Path(request_.engine).read_bytes() == b"engine"
    assert library.registry.loaded == [PLUGINS]
    assert library.plugins == (PLUGINS,)


def test_plugins_that_do_not_load(library: FakeBuilderLibrary, request_: BuildRequest) -> None:
    library.takes_plugins = False
    with pytest.raises(BackendError, match=rf"refuses the plugins {PLUGINS}: no such symbol"):
        here(request_)


def test_float32_stays_float32(library: FakeBuilderLibrary, request_: BuildRequest) -> None:
    here(request_)
    assert library.config.flags == set()


@pytest.mark.parametrize(
    ("asked", "level"),
    [("none", "none"), ("same-compute-capability", "same"), ("ampere-plus", "newer")],
)
def test_hardware_compatibility(
    library: FakeBuilderLibrary, request_: BuildRequest, asked: str, level: str
) -> None:
    here(replace(request_, hardware_compatibility=asked))
    assert library.config.hardware_compatibility_level == level


def test_the_profiles_are_those_asked_for(
    library: FakeBuilderLibrary, request_: BuildRequest
) -> None:
    here(request_)
    for built, profile in zip(library.config.profiles, request_.profiles, strict=True):
        tokens, sequences = (profile.ranges[symbol] for symbol in ("tokens", "sequences"))
        assert built.shapes == {
            "input_ids": tuple((size,) for size in tokens),
            "cu_seqlens": tuple((size + 1,) for size in sequences),
        }


# ---- the report


def test_the_report_comes_from_the_loaded_engine(
    library: FakeBuilderLibrary, request_: BuildRequest
) -> None:
    count = len(request_.profiles)
    assert here(request_) == BuildReport(
        builder=f"tensorrt {VERSION}",
        activation_bytes=tuple(1024 * (index + 1) for index in range(count)),
        fused_attention=None,
        gpu="NVIDIA L4",
    )


def test_layers_of_the_log_are_not_counted(
    library: FakeBuilderLibrary, request_: BuildRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorRT logs similar lines with another meaning."""
    parse = library.OnnxParser

    def talkative(network: Any, logger: Any) -> Any:
        logger.log(library.ILogger.Severity.VERBOSE, "Layers:\nName: _gemm_mha_v2")
        logger.log(library.ILogger.Severity.VERBOSE, "Total Activation Memory: 5 bytes")
        return parse(network, logger)

    monkeypatch.setattr(library, "OnnxParser", talkative)
    report = here(request_)
    assert report.fused_attention is None
    assert 5 not in report.activation_bytes


def test_an_engine_that_does_not_load_is_no_engine(
    library: FakeBuilderLibrary, request_: BuildRequest
) -> None:
    library.deserializes = False
    message = rf"TensorRT {VERSION} cannot load the engine that it has built: the plan is of"
    with pytest.raises(BackendError, match=message):
        here(request_)


# ---- the GPU


@pytest.fixture
def asked(
    library: FakeBuilderLibrary, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., BuildRequest]:
    """Return the request for an engine, as :meth:`Library.build` makes it."""
    monkeypatch.setattr(tensorrt_module, "tensorrt_library", lambda: Path(PLUGINS))

    def ask(compute_capability: str = "8.9", device: int | None = None) -> BuildRequest:
        engine = engine_for(compute_capability)
        return TENSORRT.request(tmp_path / "m.onnx", tmp_path / "e", engine, device)

    return ask


@pytest.mark.parametrize(("device", "index"), [(None, 1), (1, 1), (2, 2)])
def test_the_gpu_that_is_built_on(
    asked: Callable[..., BuildRequest],
    request_: BuildRequest,
    library: FakeBuilderLibrary,
    device: int | None,
    index: int,
) -> None:
    found = asked(device=device)
    assert found.plugins == (PLUGINS,)
    assert found.hardware_compatibility == "none"
    assert found.device == index
    assert here(replace(request_, device=found.device)).gpu == NAMES[index]
    assert library.cuda.current == index


def test_no_gpu_of_the_compute_capability(asked: Callable[..., BuildRequest]) -> None:
    message = (
        r"for compute capability 9\.0 on such a GPU only; found is cuda:0 NVIDIA A100-\S+ "
        r"\(8\.0\), cuda:1 NVIDIA L4 \(8\.9\), .*Export there, or with --backend tensorrt-rtx"
    )
    with pytest.raises(BackendError, match=message):
        asked(compute_capability="9.0")


def test_a_gpu_of_another_compute_capability(asked: Callable[..., BuildRequest]) -> None:
    message = r"8\.9 on such a GPU only; found is cuda:0 NVIDIA A100-\S+ \(8\.0\)\. Export there"
    with pytest.raises(BackendError, match=message):
        asked(device=0)


def test_a_gpu_that_is_not_there(asked: Callable[..., BuildRequest]) -> None:
    with pytest.raises(BackendError, match=r"There is no device cuda:3; this machine has cuda:0"):
        asked(device=3)


# ---- timings


def timings(tmp_path: Path, gpu: str = "NVIDIA-L4", version: str = VERSION) -> Path:
    return tmp_path / "cache" / "tensorrt" / f"timings-{version}-{gpu}.cache"


def test_timings_are_kept(
    library: FakeBuilderLibrary, request_: BuildRequest, tmp_path: Path
) -> None:
    for _ in range(2):
        here(request_)
    # The second build began with those of the first.
    assert timings(tmp_path).read_bytes() == b"timed timed "


def test_timings_are_of_one_gpu_and_one_version(
    library: FakeBuilderLibrary, request_: BuildRequest, tmp_path: Path
) -> None:
    here(request_)
    here(replace(request_, device=2))
    library.__version__ = "11.1/a"
    here(request_)
    found = sorted((tmp_path / "cache" / "tensorrt").iterdir())
    assert found == sorted(
        [
            timings(tmp_path),
            timings(tmp_path, "NVIDIA-RTX-6000-Ada-Generation"),
            timings(tmp_path, version="11.1-a"),
        ]
    )
    assert {file.read_bytes() for file in found} == {b"timed "}


@pytest.mark.parametrize("kept", [b"stale", b"damaged"])
def test_timings_that_are_refused_are_replaced(
    library: FakeBuilderLibrary, request_: BuildRequest, tmp_path: Path, kept: bytes
) -> None:
    timings(tmp_path).parent.mkdir(parents=True)
    timings(tmp_path).write_bytes(kept)
    here(request_)
    assert timings(tmp_path).read_bytes() == b"timed "


def test_timings_that_cannot_be_kept_fail_no_build(
    library: FakeBuilderLibrary, request_: BuildRequest, tmp_path: Path
) -> None:
    (tmp_path / "cache").write_text("a file")
    warnings: list[str] = []
    here(request_, warnings)
    (warning,) = warnings
    assert f"{timings(tmp_path)} cannot be kept" in warning


# ---- without the library


def test_tensorrt_is_not_installed_here() -> None:
    if importlib.util.find_spec("tensorrt") is not None:
        pytest.skip("TensorRT is installed")
    assert TENSORRT.unavailable() is not None
    assert "pip install 'mbert[tensorrt]'" in str(TENSORRT.unavailable())
