"""Bundles for GPUs without an export: manifest, empty graph, stand-in engine.

The engines compute :func:`expected` exactly, from either signature, so that a misplaced token,
sequence or mask shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from mbert.runtime.backends.tensorrt.profiles import profiles_for
from mbert.runtime.bundle import file_sha256
from mbert.runtime.manifest import (
    Engine,
    FileEntry,
    Limits,
    Manifest,
    TensorSpec,
    symbols_of,
)
from mbert.runtime.tasks import TASKS
from support.fake_cuda import FakeCuda
from support.fake_tensorrt import Arrays, FakeTensorRT

VERSION = "1.7.1.116"
LIMITS = Limits(max_tokens=1024, max_sequence_length=256, max_sequences=16)
COLUMNS = 4
MASK = 7
# Outputs of one column each.
_COLUMN = {"start_logits": 1, "end_logits": 2}


def make_manifest(
    backend: str = "tensorrt-rtx",
    task: str = "feature-extraction",
    dtype: str = "float16",
    built: bool = True,
    capability: str = "8.9",
    compatibility: str = "none",
    gpu: str | None = None,
    **changes: Any,
) -> Manifest:
    """Make the manifest of a bundle without files."""
    inputs = _signature(backend, task)
    engine = Engine(
        file=f"engines/{backend}-l4.engine" if built else None,
        compute_capability=capability,
        builder=f"{backend} {VERSION}" if built else None,
        profiles=profiles_for(symbols_of(inputs), LIMITS, 64),
        tokens_multiple=64,
        hardware_compatibility=compatibility,
        gpu=gpu,
    )
    entries: dict[str, Any] = {
        "mbert_version": "0.1.0",
        "task": task,
        "precision": {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}[dtype],
        "target": "l4",
        "backend": backend,
        "operators": {},
        "model": {"vocab_size": 8, "hidden_size": COLUMNS},
        "inputs": inputs,
        "outputs": tuple(
            TensorSpec(name, dtype, (rows,) if name in _COLUMN else (rows, COLUMNS))
            for name, rows in TASKS[task].outputs.items()
        ),
        "limits": LIMITS,
        "pooling": None,
        "labels": tuple("abcd") if task == "text-classification" else None,
        "problem_type": None,
        "special_tokens": {"mask": MASK},
        "source": {},
        "engine": None if backend == "onnxruntime" else engine,
    }
    return Manifest(**{**entries, **changes})


def make_bundle(folder: Path, manifest: Manifest) -> Path:
    """Write a bundle with a manifest."""
    folder.mkdir()
    onnx.save(helper.make_model(helper.make_graph([], "empty", [], [])), folder / "model.onnx")
    if manifest.engine is not None and manifest.engine.file is not None:
        (folder / "engines").mkdir()
        (folder / manifest.engine.file).write_bytes(b"engine")
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            entry = FileEntry(path.stat().st_size, file_sha256(path))
            manifest.files[str(path.relative_to(folder))] = entry
    (folder / "manifest.json").write_text(manifest.to_json())
    return folder


def fake_library(
    manifest: Manifest,
    cuda: FakeCuda,
    version: str = VERSION,
    kind: type[FakeTensorRT] = FakeTensorRT,
) -> FakeTensorRT:
    """Make a library whose engine computes the bundle's outputs."""
    assert manifest.engine is not None

    def compute(arrays: Arrays) -> list[NDArray[Any]]:
        return [_output(spec, arrays) for spec in manifest.outputs]

    profiles = manifest.engine.profiles
    return kind(cuda, manifest.inputs, manifest.outputs, profiles, compute, version)


def expected(
    sequences: Sequence[NDArray[np.int32]], task: str, masks: Sequence[int] = ()
) -> NDArray[np.float32]:
    """Return for each token its id, its offset, and its sequence's sum and first id.

    Several outputs are columns of one array.
    """
    rows = [
        [ids[i], i, ids.sum(), ids[0]]
        for ids in map(np.asarray, sequences)
        for i in range(len(ids))
    ]
    if task == "fill-mask":
        rows = [rows[i] for i in masks]
    elif task == "text-classification":
        rows = [[s[0], 0, s.sum(), s[0]] if len(s) else [0] * COLUMNS for s in sequences]
    values = np.array(rows, np.float32).reshape(-1, COLUMNS)
    columns = [_COLUMN[name] for name in TASKS[task].outputs if name in _COLUMN]
    return values[:, columns] if columns else values


def _output(spec: TensorSpec, arrays: Arrays) -> NDArray[Any]:
    values = _of_tokens(arrays)
    rows = str(spec.shape[0])
    if rows == "masks":
        values = values[arrays["mask_positions"]]
    elif rows == "sequences":
        offsets = arrays["cu_seqlens"]
        full = np.concatenate((values, np.zeros((1, COLUMNS), np.float32)))
        values = np.where(np.diff(offsets)[:, None] > 0, full[offsets[:-1]], 0)
    if spec.name in _COLUMN:
        values = values[:, _COLUMN[spec.name]]
    values = values.astype(np.float32)
    if spec.dtype == "bfloat16":
        return (values.view(np.uint32) >> 16).astype(np.uint16)
    return values.astype(spec.dtype)


def _of_tokens(arrays: Arrays) -> NDArray[np.float32]:
    ids = arrays["input_ids"].astype(np.int64)
    if "pad_index" in arrays:
        pad, mask = arrays["pad_index"], arrays["key_mask"][:, 0, 0]
        padded = np.where(mask, ids[pad], 0)
        row = arrays["unpad_index"] // pad.shape[1]
        columns = (ids, arrays["positions"], padded.sum(1)[row], padded[row, 0])
    else:
        offsets = arrays["cu_seqlens"]
        columns = tuple(np.zeros((4, ids.size), np.int64))
        for begin, end in pairwise(offsets):
            own = slice(begin, end)
            if end > begin:
                columns[0][own], columns[1][own] = ids[own], np.arange(end - begin)
                columns[2][own], columns[3][own] = ids[own].sum(), ids[begin]
    return np.stack(columns, 1).astype(np.float32)


def _signature(backend: str, task: str) -> tuple[TensorSpec, ...]:
    offsets = TensorSpec("cu_seqlens", "int32", ("sequences + 1",))
    specs = [TensorSpec("input_ids", "int32", ("tokens",))]
    if backend == "tensorrt-rtx":
        specs += [
            TensorSpec("positions", "int32", ("tokens",)),
            TensorSpec("pad_index", "int32", ("groups", "length")),
            TensorSpec("unpad_index", "int32", ("tokens",)),
            TensorSpec("key_mask", "bool", ("groups", 1, 1, "length")),
        ]
    if backend != "tensorrt-rtx" or task == "text-classification":
        specs.append(offsets)
    if task == "fill-mask":
        specs.append(TensorSpec("mask_positions", "int32", ("masks",)))
    return tuple(specs)
