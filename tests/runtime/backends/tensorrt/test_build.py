"""Build engines with the real TensorRT-RTX, which needs no GPU, in a child process."""

from __future__ import annotations

import errno
import importlib
import json
import logging
import os
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

from mbert.errors import BackendError
from mbert.runtime.backends import cuda
from mbert.runtime.backends.tensorrt import TENSORRT_RTX, build_process
from mbert.runtime.backends.tensorrt.api import count_layers
from mbert.runtime.backends.tensorrt.build_process import (
    BuildReport,
    BuildRequest,
    Progress,
    build_in_child,
)
from mbert.runtime.backends.tensorrt.profiles import profiles_for
from mbert.runtime.backends.tensorrt.session import TensorRTSession
from mbert.runtime.manifest import Engine, Limits, Profile
from support.exports import listed, read_only
from support.gpu_bundles import make_manifest
from support.thinning import thinned

PROFILES = profiles_for({"tokens", "groups", "length"}, Limits(1024, 256, 16), 64)
WIDTH = 64
# One layer of padded attention, as tensorrt-rtx takes it.
GRAPH = """
<ir_version: 10, opset_import: ["": 23]>
small (int32[tokens] input_ids, int32[groups, length] pad_index, int32[tokens] unpad_index,
       bool[groups, 1, 1, length] key_mask) => (TYPE[tokens, 64] last_hidden_state) {
  embedded = Gather (table, input_ids)
  padded = Gather (embedded, pad_index)
  heads = Constant <value_ints: ints = [0, 0, 2, 32]> ()
  q_rows = MatMul (padded, q_weight)
  k_rows = MatMul (padded, k_weight)
  v_rows = MatMul (padded, v_weight)
  q_split = Reshape (q_rows, heads)
  k_split = Reshape (k_rows, heads)
  v_split = Reshape (v_rows, heads)
  q = Transpose <perm: ints = [0, 2, 1, 3]> (q_split)
  k = Transpose <perm: ints = [0, 2, 1, 3]> (k_split)
  v = Transpose <perm: ints = [0, 2, 1, 3]> (v_split)
  mixed = Attention (q, k, v, key_mask)
  merged = Transpose <perm: ints = [0, 2, 1, 3]> (mixed)
  rows = Constant <value_ints: ints = [-1, 64]> ()
  flat = Reshape (merged, rows)
  last_hidden_state = Gather (flat, unpad_index)
}
"""


def write_graph(path: Path, dtype: str = "float16") -> Path:
    model = parser.parse_model(GRAPH.replace("TYPE", dtype if dtype != "float32" else "float"))
    generator = np.random.default_rng(0)
    shapes = {"table": (100, WIDTH)} | {f"{n}_weight": (WIDTH, WIDTH) for n in "qkv"}
    for name, shape in shapes.items():
        values = generator.standard_normal(shape).astype(dtype)
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    onnx.save(model, path)
    return path


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    return write_graph(tmp_path / "model.onnx")


def build(
    model: Path,
    path: Path,
    capability: str = "8.9",
    profiles: tuple[Profile, ...] = PROFILES,
    progress: Progress | None = None,
) -> BuildReport:
    engine = Engine(None, capability, None, profiles)
    return TENSORRT_RTX.build(model, path, engine, progress)


# ---- engines


@pytest.mark.parametrize(
    "capability", thinned(["7.5", "8.0", "8.6", "8.9", "12.0"], ["7.5", "12.0"])
)
def test_an_engine_for_every_capability(graph: Path, tmp_path: Path, capability: str) -> None:
    engine = tmp_path / "engines" / "a.engine"
    engine.parent.mkdir()
    report = build(graph, engine, capability)
    version = importlib.import_module("tensorrt_rtx").__version__
    assert report.builder == f"tensorrt-rtx {version}"
    assert report.fused_attention == (1,) * len(PROFILES)
    assert len(report.activation_bytes) == len(PROFILES)
    assert all(size > 0 for size in report.activation_bytes)
    assert engine.stat().st_size >= (100 * WIDTH + 3 * WIDTH * WIDTH) * 2
    assert listed(engine.parent) == ["a.engine"]  # nothing beside it


def test_progress_goes_from_nothing_to_all(graph: Path, tmp_path: Path) -> None:
    seen: list[tuple[str, float]] = []
    build(graph, tmp_path / "a.engine", progress=lambda doing, part: seen.append((doing, part)))
    parts = [part for _, part in seen]
    assert len(parts) > 10
    assert parts == sorted(parts)
    assert 0 <= parts[0] < 0.2
    assert parts[-1] == 1
    assert all(doing for doing, _ in seen)


def test_an_engine_replaces_an_older_one(graph: Path, tmp_path: Path) -> None:
    engine = tmp_path / "a.engine"
    engine.write_text("old")
    build(graph, engine)
    assert engine.stat().st_size > 1000


def test_supported_capabilities() -> None:
    known = {
        c for c in ("7.0", "7.5", "8.6", "8.9", "9.0", "10.0", "12.0") if TENSORRT_RTX.supports(c)
    }
    assert known == {"7.5", "8.6", "8.9", "12.0"}
    assert TENSORRT_RTX.unavailable() is None


def test_warnings_reach_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = onnx.load(write_graph(tmp_path / "model.onnx"))
    unused = helper.make_tensor_value_info("nothing", TensorProto.INT32, ["tokens"])
    model.graph.input.append(unused)
    onnx.save(model, tmp_path / "model.onnx")
    caplog.set_level(logging.WARNING, "mbert")
    build(tmp_path / "model.onnx", tmp_path / "a.engine")
    assert "tensorrt_rtx: Unused Input: nothing" in caplog.text


# ---- refusals


def refused(model: Path, message: str, **named: Any) -> None:
    engine = model.parent / "engines" / "a.engine"
    engine.parent.mkdir(exist_ok=True)
    with pytest.raises(BackendError, match=message):
        build(model, engine, **named)
    assert listed(engine.parent) == []


@pytest.mark.parametrize("capability", ["9.0", "10.0", "7.0", "x"])
def test_an_unknown_capability(graph: Path, capability: str) -> None:
    message = rf"not build for compute capability {capability}; it knows 7\.5, .*--backend tensorrt"
    refused(graph, message, capability=capability)


@pytest.mark.parametrize("content", [b"", b"text that is no model at all", b"\x08\x0a" * 100, None])
def test_what_is_no_model(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "model.onnx").write_bytes(content)
    message = r"model\.onnx (cannot be read|is not an ONNX model)|cannot (read|build) .*model\.onnx"
    refused(tmp_path / "model.onnx", message)


def test_a_model_that_was_cut_short(graph: Path) -> None:
    graph.write_bytes(graph.read_bytes()[:-100])
    refused(graph, "model.onnx is not an ONNX model: a field goes past the end")


def test_an_operator_of_mberts_own(tmp_path: Path) -> None:
    """The real parser would abort the process."""
    node = helper.make_node("VarlenPooling", ["x"], ["y"], domain="mbert", mode=0)
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT16, ["tokens", 8]) for n in "xy")
    opsets = [helper.make_opsetid("", 23), helper.make_opsetid("mbert", 1)]
    model = helper.make_model(helper.make_graph([node], "g", [x], [y]), opset_imports=opsets)
    onnx.save(model, tmp_path / "model.onnx")
    message = (
        "operators of domain 'mbert', which TensorRT-RTX does not have.*--backend tensorrt-rtx"
    )
    refused(tmp_path / "model.onnx", message)


def test_a_precision_that_it_has_no_kernels_for(tmp_path: Path) -> None:
    refused(write_graph(tmp_path / "model.onnx", "float32"), "TensorRT-RTX 1.* cannot build")


@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        ({"tokens": (64, 64, 64)}, r"'p' has no range for 'groups', a size of .*'pad_index'"),
        (
            {"tokens": (64, 32, 16), "groups": (1, 1, 1), "length": (64, 64, 64)},
            "TensorRT-RTX .*(refuses the profile|cannot build)",
        ),
    ],
    ids=["a size is missing", "least above largest"],
)
def test_profiles_that_make_no_sense(
    graph: Path, ranges: dict[str, tuple[int, int, int]], message: str
) -> None:
    refused(graph, message, profiles=(Profile("p", ranges),))


def test_no_profiles(graph: Path) -> None:
    refused(graph, "TensorRT-RTX 1.* cannot build", profiles=())


def test_a_folder_that_is_not_there(graph: Path, tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=r"nowhere/a\.engine cannot be written: No such file"):
        build(graph, tmp_path / "nowhere" / "a.engine")


def test_a_folder_that_cannot_be_written(graph: Path, tmp_path: Path) -> None:
    with (
        read_only(tmp_path / "full") as folder,
        pytest.raises(BackendError, match=r"cannot be written: (Read-only|Permission)"),
    ):
        build(graph, folder / "a.engine")


# ---- crashes of the child

DEATHS = {
    "SIGSEGV": "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
    "SIGKILL": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "SIGABRT: free.*: invalid pointer": (
        "import os, sys; sys.stdin.read(); print('free(): invalid pointer', file=sys.stderr, "
        "flush=True); os.abort()"
    ),
    "ended with status 1: .*RuntimeError: odd": (
        "import sys; sys.stdin.read(); raise RuntimeError('odd')"
    ),
    "ended with status 0": "pass",
}


@pytest.mark.parametrize(("message", "code"), DEATHS.items())
def test_a_builder_that_dies_takes_nobody_along(
    graph: Path, monkeypatch: pytest.MonkeyPatch, message: str, code: str
) -> None:
    monkeypatch.setattr(build_process, "_CHILD", code)
    refused(graph, f"process that builds the engine .*({message})")


def test_an_interruption_ends_the_builder(graph: Path, tmp_path: Path) -> None:
    def interrupt(doing: str, part: float) -> None:
        raise KeyboardInterrupt

    (tmp_path / "engines").mkdir()
    with pytest.raises(KeyboardInterrupt):
        build(graph, tmp_path / "engines" / "a.engine", progress=interrupt)
    assert listed(tmp_path / "engines") == []
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)  # no child is left


@pytest.mark.parametrize(
    ("function", "code"), [("os.pipe", errno.EMFILE), ("subprocess.Popen", errno.EAGAIN)]
)
def test_a_builder_that_cannot_be_started(
    graph: Path, monkeypatch: pytest.MonkeyPatch, function: str, code: int
) -> None:
    def fail(*arguments: Any, **named: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(f"mbert.runtime.backends.tensorrt.build_process.{function}", fail)
    before = listed(Path("/proc/self/fd"))
    refused(graph, f"builds the engine cannot be started: {os.strerror(code)}")
    assert listed(Path("/proc/self/fd")) == before


def test_errors_of_the_caller_stay_its_own(graph: Path, tmp_path: Path) -> None:
    def report(doing: str, part: float) -> None:
        raise BrokenPipeError(errno.EPIPE, "nobody reads the progress")

    with pytest.raises(BrokenPipeError, match="nobody reads the progress"):
        build(graph, tmp_path / "a.engine", progress=report)


def test_the_builder_imports_what_its_parent_would(
    graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where Python does not put the current folder first."""
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "tensorrt_rtx.py").write_text("raise ImportError('the first of all')")
    monkeypatch.setenv("PYTHONSAFEPATH", "1")
    monkeypatch.syspath_prepend(tmp_path / "first")
    request = BuildRequest("tensorrt-rtx", str(graph), str(tmp_path / "e"), "8.9", PROFILES)
    with pytest.raises(BackendError, match="the first of all"):
        build_in_child(request, None)


# ---- the report


@pytest.mark.parametrize(
    "report",
    [BuildReport("tensorrt-rtx 1", (1, 2), (3, 4)), BuildReport("tensorrt 11", (), None, "L4")],
)
def test_reports_come_through_the_pipe(report: BuildReport) -> None:
    assert build_process._report(**json.loads(json.dumps(asdict(report)))) == report


def test_layers_are_counted_for_each_profile() -> None:
    lines = [
        "Name: copy",
        "Name: attention_1",
        "Name: other, Inputs: [x [profile 0]]",
        "Name: attention_2",
        "Name: copy [profile 1]",
        "Name: no layer of interest, Inputs: [attention_2]",
        "Name: copy [profile 3]",
        "Name: attention_1, Inputs: [x [profile 3]]",
    ]
    pattern = TENSORRT_RTX.attention
    assert pattern is not None
    assert count_layers(lines, pattern) == [0, 0, 0, 0]
    assert count_layers(lines, re.compile("^Name: attention")) == [2, 0, 0, 1]
    assert count_layers([], pattern) == [0]


# ---- a real engine, a real library, and no driver


def load(engine: Path) -> None:
    manifest = make_manifest()
    assert manifest.engine is not None
    stream: Any = None  # loading fails before it is used
    TensorRTSession(TENSORRT_RTX, manifest, manifest.engine, engine, stream)


def test_without_a_driver_a_real_engine_is_refused_in_words(graph: Path, tmp_path: Path) -> None:
    if cuda.local_devices():
        pytest.skip("this machine has a GPU")
    build(graph, tmp_path / "a.engine")
    with pytest.raises(BackendError, match=r"cannot load the engine .*CUDA driver version"):
        load(tmp_path / "a.engine")


@pytest.mark.parametrize("content", [b"", b"no engine", b"ftrt" + b"\0" * 4000])
def test_what_is_no_engine(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.engine").write_bytes(content)
    with pytest.raises(BackendError, match="cannot load the engine"):
        load(tmp_path / "a.engine")


def test_an_engine_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=r"a\.engine cannot be read: No such file"):
        load(tmp_path / "a.engine")
