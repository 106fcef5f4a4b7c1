"""The TensorRT plugins: every method, called as TensorRT does, and a real plugin registry."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from mbert.plugins import tensorrt_library
from mbert.plugins.operators import POOLING_MODES
from support.native import cmake_build
from support.onnx_nodes import attention_model, pooling_model
from support.toolchain import needs_nvcc

pytestmark = needs_nvcc


def test_every_method() -> None:
    """Run the cases of the harness; each prints a line."""
    build = cmake_build("tests", "-DMBERT_BUILD_TESTS=ON", target="tensorrt_plugins")
    done = subprocess.run(
        [build / "tests" / "plugins" / "tensorrt" / "tensorrt_plugins", tensorrt_library()],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stdout.splitlines()
    assert [line for line in lines if not line.startswith("ok ")] == []
    assert done.returncode == 0, done.stdout + done.stderr
    for operator in ("VarlenAttention", "VarlenPooling"):
        assert sum(f"ok {operator}: " in line for line in lines) >= 14


# ---- NVIDIA's plugin registry


@pytest.fixture(scope="module")
def trt() -> Any:
    return pytest.importorskip("tensorrt_rtx", reason="needs the package tensorrt-rtx")


@pytest.fixture(scope="module")
def registry(trt: Any) -> Iterator[Any]:
    registry = trt.get_plugin_registry()
    handle = registry.load_library(str(tensorrt_library()))
    assert handle is not None
    yield registry
    registry.deregister_library(handle)


def _fields(trt: Any, node: onnx.NodeProto) -> tuple[Any, list[Any]]:
    """Return the attributes as TensorRT's ONNX parser passes them, and the arrays they point to."""
    kinds = {
        onnx.AttributeProto.INT: (np.int32, trt.PluginFieldType.INT32),
        onnx.AttributeProto.FLOAT: (np.float32, trt.PluginFieldType.FLOAT32),
    }
    arrays: list[Any] = []
    fields = []
    for attribute in node.attribute:
        dtype, kind = kinds[attribute.type]
        arrays.append(np.array([onnx.helper.get_attribute_value(attribute)], dtype))
        fields.append(trt.PluginField(attribute.name, arrays[-1], kind))
    return trt.PluginFieldCollection(fields), arrays


def _create(trt: Any, registry: Any, node: onnx.NodeProto) -> Any:
    creator = registry.get_creator(node.op_type, "1", node.domain)
    assert creator is not None
    fields, _arrays = _fields(trt, node)
    return creator.create_plugin(node.name or "layer", fields, trt.TensorRTPhase.BUILD)


def _nodes(model: onnx.ModelProto, operator: str) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.op_type == operator]


def test_registry_finds_both_creators(registry: Any) -> None:
    found = {
        creator.name: [field.name for field in creator.field_names]
        for creator in registry.all_creators
        if creator.plugin_namespace == "mbert"
    }
    assert found == {"VarlenAttention": ["num_heads", "scale", "window"], "VarlenPooling": ["mode"]}


def test_plugins_from_an_exported_model(trt: Any, registry: Any, tiny_embed_bundle: Path) -> None:
    """The plugin of each attention node describes itself correctly."""
    model = onnx.load(tiny_embed_bundle / "model.onnx", load_external_data=False)
    nodes = _nodes(model, "VarlenAttention")
    assert len({str(node.attribute) for node in nodes}) == 2  # global layers and windowed ones
    for node in nodes:
        plugin = _create(trt, registry, node)
        core = plugin.get_capability_interface(trt.PluginCapabilityType.CORE)
        assert (core.plugin_name, core.plugin_version) == ("VarlenAttention", "1")
        assert core.plugin_namespace == node.domain
        build = plugin.get_capability_interface(trt.PluginCapabilityType.BUILD)
        assert build.num_outputs == 1
        values = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        told = dict(item.split("=") for item in build.metadata_string.split())
        assert set(told) == set(values) == {"num_heads", "scale", "window"}
        assert int(told["num_heads"]) == values["num_heads"]
        assert int(told["window"]) == values["window"]
        assert np.float32(told["scale"]) == np.float32(values["scale"])
        assert plugin.get_capability_interface(trt.PluginCapabilityType.RUNTIME) is not None


@pytest.mark.parametrize("mode", POOLING_MODES.values())
def test_pooling_from_a_node(trt: Any, registry: Any, mode: int) -> None:
    (node,) = _nodes(pooling_model(mode), "VarlenPooling")
    plugin = _create(trt, registry, node)  # its capability does not keep it alive
    build = plugin.get_capability_interface(trt.PluginCapabilityType.BUILD)
    assert build.metadata_string == f"mode={mode}"


def test_bad_attributes_are_refused(
    trt: Any, registry: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    """Outside of an engine TensorRT has no logger: errors go to standard error."""
    (node,) = _nodes(attention_model(0, 0.125, 64), "VarlenAttention")
    assert _create(trt, registry, node) is None
    expected = "mbert: VarlenAttention: layer 'layer': num_heads is 0; it has to be"
    assert expected in capfd.readouterr().err
    del node.attribute[:]
    assert _create(trt, registry, node) is None
    assert "the attribute 'num_heads' is missing" in capfd.readouterr().err
