"""The doubles against the real interfaces: the same names, and the same parameters."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest
import tensorrt_rtx as trt
from cuda.bindings import runtime

from support import fake_builder
from support import fake_tensorrt as fake
from support.fake_cuda import FakeCuda


def methods(double: type) -> list[tuple[str, Any]]:
    named = inspect.getmembers(double, inspect.isfunction)
    return [(name, method) for name, method in named if not name.startswith("_")]


@pytest.mark.parametrize("name", [name for name, _ in methods(FakeCuda) if name.startswith("cuda")])
def test_cuda(name: str) -> None:
    double = list(inspect.signature(getattr(FakeCuda, name)).parameters)[1:]
    assert double == list(inspect.signature(getattr(runtime, name)).parameters)


PAIRS = [
    (fake.FakeRuntime, trt.Runtime),
    (fake.FakeEngine, trt.ICudaEngine),
    (fake.FakeConfig, trt.IRuntimeConfig),
    (fake.FakeCache, trt.IRuntimeCache),
    (fake.FakeContext, trt.IExecutionContext),
    (fake_builder.FakeBuilder, trt.Builder),
    (fake_builder.FakeRegistry, trt.IPluginRegistry),
    (fake_builder.FakeNetwork, trt.INetworkDefinition),
    (fake_builder.FakeTensor, trt.ITensor),
    (fake_builder.FakeParser, trt.OnnxParser),
    (fake_builder.FakeProfile, trt.IOptimizationProfile),
    (fake_builder.FakeBuilderConfig, trt.IBuilderConfig),
    (fake_builder.FakeTimingCache, trt.ITimingCache),
]


@pytest.mark.parametrize(
    ("name", "method", "real"),
    [(name, method, real) for double, real in PAIRS for name, method in methods(double)],
)
def test_tensorrt_rtx(name: str, method: Any, real: type) -> None:
    double = list(inspect.signature(method).parameters)[1:]
    # Compiled methods carry their signatures in their documentation, one for each overload.
    documented = str(getattr(real, name).__doc__)
    overloads = [
        re.findall(r"(?:^|, )(\w+): ", arguments)[1:]
        for arguments in re.findall(rf"{name}\((self: .*?)\) ->", documented)
    ]
    assert double in overloads


def test_the_names_that_are_looked_up() -> None:
    engine = trt.ICudaEngine
    for name in ("num_io_tensors", "num_optimization_profiles", "device_memory_size_v2"):
        assert hasattr(engine, name)
    assert hasattr(trt.Runtime, "engine_host_code_allowed")
    config = fake_builder.FakeBuilderConfig()
    for name in set(vars(config)) - {"flags", "profiles", "timing_cache"}:
        assert hasattr(trt.IBuilderConfig, name)
    assert {"num_inputs"} <= set(dir(trt.INetworkDefinition))
    assert {"name", "dtype", "shape"} <= set(dir(trt.ITensor))
    for enumeration in (
        "NetworkDefinitionCreationFlag",
        "ProfilingVerbosity",
        "BuilderFlag",
        "HardwareCompatibilityLevel",
    ):
        double = getattr(fake_builder.FakeBuilderLibrary, enumeration)
        assert set(vars(double)) <= set(dir(getattr(trt, enumeration)))
    assert hasattr(trt.IRuntimeConfig, "dynamic_shapes_kernel_specialization_strategy")
    assert hasattr(trt.ExecutionContextAllocationStrategy, "USER_MANAGED")
    assert hasattr(trt.DynamicShapesKernelSpecializationStrategy, "EAGER")
    assert {kind.name for kind in fake.DataType} <= set(dir(trt.DataType))
    assert {level.name for level in fake.FakeTensorRT.ILogger.Severity} <= set(
        dir(trt.ILogger.Severity)
    )
