"""Names of weight files and of domains are found wherever a model can hold one."""

from __future__ import annotations

import contextlib

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from mbert.runtime.onnx_names import external_files, node_domains


def tensor(name: str) -> TensorProto:
    made = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[1])
    made.data_location = TensorProto.EXTERNAL
    # The value before the key: protobuf leaves the order to the writer.
    entry = made.external_data.add()
    entry.value, entry.key = name, "location"
    made.external_data.add(key="offset", value="0")
    return made


def constant(value: TensorProto) -> onnx.NodeProto:
    return helper.make_node("Constant", [], ["y"], value=value)


def test_every_place() -> None:
    branch = helper.make_graph([constant(tensor("in a branch"))], "b", [], [], [tensor("init")])
    several = helper.make_node("F", [], ["z"], domain="d")
    several.attribute.append(helper.make_attribute("tensors", [tensor("in a list")]))
    several.attribute.append(helper.make_attribute("graphs", [branch]))
    sparse = helper.make_sparse_tensor(tensor("values"), tensor("indices"), [4])
    graph = helper.make_graph([constant(tensor("in a node")), several], "g", [], [])
    graph.sparse_initializer.append(sparse)
    default = helper.make_attribute("value", tensor("a default"))
    function = helper.make_function(
        "d", "F", [], ["y"], [constant(tensor("in a function"))], [], attribute_protos=[default]
    )
    model = helper.make_model(graph, functions=[function])
    assert external_files(model.SerializeToString()) == {
        "in a branch",
        "init",
        "in a list",
        "values",
        "indices",
        "in a node",
        "a default",
        "in a function",
    }


def test_other_keys_are_no_files() -> None:
    model = helper.make_model(helper.make_graph([], "location", [], []))
    assert external_files(model.SerializeToString()) == set()


@pytest.mark.parametrize("cut", [1, 7, 20])
def test_a_cut_model_is_refused(cut: int) -> None:
    whole = helper.make_model(helper.make_graph([constant(tensor("x"))], "g", [], []))
    with pytest.raises(ValueError, match="past the end"):
        external_files(whole.SerializeToString()[:-cut])


@given(st.binary(max_size=200))
def test_any_bytes_give_names_or_a_value_error(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert isinstance(external_files(data), set)


def node(domain: str, **graphs: onnx.GraphProto) -> onnx.NodeProto:
    return helper.make_node("F", ["x"], ["y"], domain=domain, **graphs)


def test_domains_of_every_node() -> None:
    branch = helper.make_graph([node("in a branch")], "b", [], [])
    body = [node("in a function"), helper.make_node("Add", ["x", "x"], ["y"])]
    function = helper.make_function("of the function", "F", ["x"], ["y"], body, [])
    graph = helper.make_graph([node("in the graph"), node("If", then=branch)], "g", [], [])
    model = helper.make_model(graph, functions=[function])
    found = node_domains(model.SerializeToString())
    assert found == {"in a branch", "in a function", "", "in the graph", "If"}


def test_a_model_without_nodes_has_no_domains() -> None:
    model = helper.make_model(helper.make_graph([], "g", [], []))
    assert node_domains(model.SerializeToString()) == set()
