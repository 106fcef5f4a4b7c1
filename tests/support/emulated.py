"""Run the kernels of plugins/cuda on the emulated GPU, in this process."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from support.cases import Case
from support.native import cmake_build
from support.onnx_nodes import reduce

_ERROR_BYTES = 4096
_TYPES = ("float32", "float16", "bfloat16")  # in the order of the enum ElementType


class EmulationError(Exception):
    """An error in a kernel that the emulated GPU found."""


def build(target: str) -> Path:
    """Build a library of tests/plugins/cuda; return its folder."""
    folder = cmake_build("tests", "-DMBERT_BUILD_TESTS=ON", target=target)
    return folder / "tests" / "plugins" / "cuda"


@cache
def library(target: str) -> ctypes.CDLL:
    return ctypes.CDLL(str(build(target) / f"lib{target}.so"))


def call(function: Any, *arguments: Any) -> None:
    """Call a C function whose last arguments are an error buffer and its size."""
    error = ctypes.create_string_buffer(_ERROR_BYTES)
    function.restype = None
    function(*arguments, error, ctypes.c_int64(_ERROR_BYTES))
    if error.value:
        raise EmulationError(error.value.decode())


def pointer(array: NDArray[Any]) -> ctypes.c_void_p:
    assert array.flags.c_contiguous
    return ctypes.c_void_p(array.ctypes.data)


def run_probe(
    name: str, words: NDArray[np.uint32], outputs: int, capability: int = 80, seed: int = 0
) -> NDArray[np.uint32]:
    """Run a probe of primitives.h: words [threads, inputs] to [threads, outputs]."""
    words = np.ascontiguousarray(words, np.uint32)
    out = np.zeros((words.shape[0], outputs), np.uint32)
    call(
        library("emulated_probes").mbert_emulated_probe,
        name.encode(),
        ctypes.c_int32(capability),
        ctypes.c_uint64(seed),
        pointer(words),
        ctypes.c_int64(words.size),
        pointer(out),
        ctypes.c_int64(out.size),
    )
    return out


def run_violation(name: str, seed: int = 0) -> None:
    """Run a kernel of violations.h."""
    function = library("emulated_probes").mbert_emulated_violation
    call(function, name.encode(), ctypes.c_uint64(seed))


@dataclass(frozen=True)
class Variant:
    """A specialisation of the attention kernel, without the head size."""

    dtype: str = "float16"
    capability: int = 80

    @property
    def id(self) -> str:
        return f"{self.dtype}-sm_{self.capability}"


VARIANTS = (
    Variant("float16", 75),
    Variant("float16", 80),
    Variant("bfloat16", 80),
    Variant("float32", 75),
    Variant("float32", 80),
)


class _AttentionCall(ctypes.Structure):
    """``AttentionCall`` of emulated_attention.h."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("qkv", "cu_seqlens", "rope", "context", "blocks")),
        *((name, ctypes.c_int64) for name in ("tokens", "sequences", "max_position", "num_heads")),
        *((name, ctypes.c_int64) for name in ("head_dim", "window", "block_count")),
        ("seed", ctypes.c_uint64),
        ("scale", ctypes.c_float),
        *((name, ctypes.c_int32) for name in ("element_type", "rotation", "capability", "exact")),
    )


def run_attention(
    case: Case,
    inputs: dict[str, NDArray[Any]],
    variant: Variant = Variant(),
    *,
    rotation: str = "fused",
    seed: int = 0,
    exact: bool = True,
    blocks: tuple[int, ...] = (),
    kernels: ctypes.CDLL | None = None,
) -> NDArray[np.float32]:
    """Compute VarlenAttention by the CUDA kernel; rows that it does not write are NaN.

    ``blocks``: those along x to run; None: all. ``exact``: each row must be written once.
    ``kernels``: the library; None: the one with all kernels.
    """
    kernels = kernels or library("emulated_attention")
    qkv = np.ascontiguousarray(reduce(inputs["qkv"], variant.dtype))
    cu_seqlens, rope = (np.ascontiguousarray(inputs[name]) for name in ("cu_seqlens", "rope"))
    context = np.full((len(qkv), case.num_heads * case.head_dim), np.nan, qkv.dtype)
    chosen = np.array(blocks, np.int32)
    arguments = _AttentionCall(
        qkv=pointer(qkv),
        cu_seqlens=pointer(cu_seqlens),
        rope=pointer(rope),
        context=pointer(context),
        blocks=pointer(chosen),
        tokens=len(qkv),
        sequences=cu_seqlens.size - 1,
        max_position=len(rope),
        num_heads=case.num_heads,
        head_dim=case.head_dim,
        window=case.window,
        block_count=chosen.size,
        seed=seed,
        scale=case.scale,
        element_type=_TYPES.index(variant.dtype),
        rotation=("fused", "workspace").index(rotation),
        capability=variant.capability,
        exact=exact,
    )
    call(kernels.mbert_emulated_attention, ctypes.byref(arguments))
    return context.astype(np.float32)


def run_pooling(
    inputs: dict[str, NDArray[Any]], mode: int, dtype: str, seed: int = 0
) -> NDArray[np.float32]:
    """Compute VarlenPooling by the CUDA kernel."""
    hidden = np.ascontiguousarray(reduce(inputs["hidden"], dtype))
    cu_seqlens = np.ascontiguousarray(inputs["cu_seqlens"])
    tokens, columns = hidden.shape
    pooled = np.full((cu_seqlens.size - 1, columns), np.nan, hidden.dtype)
    call(
        library("emulated_pooling").mbert_emulated_pooling,
        ctypes.c_int32(_TYPES.index(dtype)),
        ctypes.c_int32(mode),
        ctypes.c_uint64(seed),
        pointer(hidden),
        ctypes.c_int64(tokens),
        ctypes.c_int64(columns),
        pointer(cu_seqlens),
        ctypes.c_int64(cu_seqlens.size - 1),
        pointer(pooled),
    )
    return pooled.astype(np.float32)
