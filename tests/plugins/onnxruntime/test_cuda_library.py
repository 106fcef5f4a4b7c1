"""The library with the CUDA operators, in an ONNX Runtime without CUDA."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from mbert.plugins import onnxruntime_cuda_library, onnxruntime_library
from mbert.plugins.operators import OPERATORS
from support.cases import Case
from support.native import cmake_build
from support.onnx_nodes import attention_model, pooling_model, run, session
from support.toolchain import needs_nvcc

# Builds the library for CUDA on stand-in kernels.
pytestmark = pytest.mark.thorough

CASE = Case((5, 7), num_heads=2, head_dim=32)
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
# ONNX Runtime's codes of element types.
CODES = {"float32": 1, "uint8": 2, "int32": 6, "float16": 10, "bfloat16": 16}


def _session(model: onnx.ModelProto, *libraries: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    for library in libraries:
        options.register_custom_ops_library(str(library))
    return ort.InferenceSession(model.SerializeToString(), options, providers=[CPU])


def _operators(library: Path) -> list[str]:
    build = cmake_build("tests", "-DMBERT_BUILD_TESTS=ON", target="list_operators")
    program = build / "tests" / "plugins" / "onnxruntime" / "list_operators"
    done = subprocess.run([program, library], capture_output=True, text=True, check=True)
    domain, *operators = done.stdout.splitlines()
    assert domain == "domain mbert"
    return operators


def _expected(provider: str) -> list[str]:
    """Return the table's operators; all inputs are in the provider's memory (0)."""
    lines = []
    for operator in OPERATORS.values():
        ((variable, types),) = operator.types.items()
        if variable == "W" and provider == CUDA:  # the linear operators are for CPUs
            continue
        for chosen in types:
            named = [chosen if i.type == variable else i.type for i in operator.inputs]
            codes = " ".join(str(CODES[name]) for name in named)
            memory = " ".join("0" * len(named))
            lines.append(f"{operator.name} {provider} types {codes} memory {memory}")
    return lines


def test_operators_of_the_library_for_cpus() -> None:
    assert sorted(_operators(onnxruntime_library())) == sorted(_expected(CPU))


@needs_nvcc
def test_operators_of_the_library_with_cuda() -> None:
    found = _operators(onnxruntime_cuda_library())
    assert sorted(found) == sorted([*_expected(CPU), *_expected(CUDA)])


@needs_nvcc
def test_without_cuda_the_cpu_computes() -> None:
    """A missing execution provider is no error: its operators are not used."""
    assert CUDA not in ort.get_available_providers()
    inputs = CASE.inputs()
    model = attention_model(CASE.num_heads, CASE.scale, CASE.window)
    here = run(_session(model, onnxruntime_cuda_library()), inputs)
    assert here.any()
    assert np.array_equal(here, run(session(model), inputs))


@needs_nvcc
def test_a_session_takes_one_of_the_libraries() -> None:
    """This is why the library with CUDA also has the CPU operators."""
    with pytest.raises(Exception, match="Domain already set in registry"):
        _session(pooling_model(1), onnxruntime_library(), onnxruntime_cuda_library())


# ---- the CUDA operators, called with host memory


@pytest.fixture(scope="module")
def on_cpu() -> Path:
    name = "mbert_onnxruntime_cuda_on_cpu"
    # Its kernels do not run: one architecture is enough.
    build = cmake_build(
        "tests-cuda",
        "-DMBERT_BUILD_TESTS=ON",
        "-DMBERT_CUDA_ARCHITECTURES=80",
        target=name,
    )
    return build / "tests" / "plugins" / "onnxruntime" / f"lib{name}.so"


@pytest.fixture
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the GPU, if there is one: it must not get host addresses."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


has_scratch_memory = pytest.mark.skipif(
    tuple(map(int, ort.__version__.split(".")[:2])) < (1, 23),
    reason="ONNX Runtime before 1.23 crashes where it gives scratch memory without a stream",
)
POOLING = {
    "hidden": np.ones((12, 8), np.float32),
    "cu_seqlens": np.array([0, 5, 12], np.int32),
}


@needs_nvcc
@pytest.mark.usefixtures("_no_gpu")
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize(
    ("operator", "inputs"),
    [
        # It has allocated scratch memory by then, and must free it.
        pytest.param(partial(attention_model, 2, 1.0, -1), CASE.inputs(), marks=has_scratch_memory),
        (partial(attention_model, 2, 1.0, 64), CASE.inputs()),
        (partial(pooling_model, 1), POOLING),
    ],
    ids=["attention, global", "attention, window 64", "pooling"],
)
def test_a_launch_without_a_gpu_is_an_error(
    on_cpu: Path, operator: Callable[[str], onnx.ModelProto], inputs: dict[str, Any], dtype: str
) -> None:
    loaded = _session(operator(dtype), on_cpu)
    for _ in range(2):
        with pytest.raises(Exception, match="the CUDA kernel could not be launched: cudaError"):
            loaded.run(None, inputs)


@needs_nvcc
@pytest.mark.usefixtures("_no_gpu")
@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"qkv": np.zeros((12, 191), np.float32)}, "qkv has 191 columns"),
        ({"rope": np.zeros((12, 48), np.float32)}, "head_dim .* is 48"),
        ({"rope": np.zeros((0, 32), np.float32)}, "rope has no rows"),
        ({"cu_seqlens": np.zeros(0, np.int32)}, "cu_seqlens\\) is -1"),
    ],
)
def test_bad_inputs_are_refused(on_cpu: Path, changes: dict[str, Any], found: str) -> None:
    loaded = _session(attention_model(2, 1.0, 64), on_cpu)
    with pytest.raises(Exception, match=found):
        loaded.run(None, {**CASE.inputs(), **changes})


@needs_nvcc
@pytest.mark.parametrize(
    ("model", "found"),
    [
        (attention_model(0, 1.0, 64), "num_heads is 0"),
        (attention_model(2, 1.0, -2), "window is -2"),
        (attention_model(2, float("nan"), 64), "scale is nan"),
        (pooling_model(6), "mode is 6"),
    ],
)
def test_bad_attributes_are_refused(on_cpu: Path, model: onnx.ModelProto, found: str) -> None:
    with pytest.raises(Exception, match=found):
        _session(model, on_cpu)
