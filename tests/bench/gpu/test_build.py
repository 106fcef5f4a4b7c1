"""The kernels and probes compile, and Python passes the right arguments."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from mbert.bench.gpu.build import build, compile_commands, find_nvcc, nvcc_version
from mbert.bench.gpu.kernels import Kernels
from mbert.errors import BackendError

# Compiles the kernels with nvcc.
pytestmark = pytest.mark.thorough

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def nvcc() -> Path:
    try:
        return find_nvcc()
    except BackendError as error:
        pytest.skip(str(error))


def test_version(nvcc: Path) -> None:
    assert re.match(r"\d+\.\d+, V\d+", nvcc_version(nvcc))


@pytest.fixture(scope="module")
def library(nvcc: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, tmp_path_factory.mktemp("gpu"), 90, nvcc)


def test_library_exports_the_interface_and_nothing_else(library: Path) -> None:
    symbols = subprocess.run(
        ["nm", "-D", "--defined-only", library], capture_output=True, text=True, check=True
    ).stdout
    exported = {line.split()[-1] for line in symbols.splitlines() if " T " in line}
    assert {name for name in exported if "mbert" in name} == {
        f"mbert_gpu_{name}" for name in ("attention", "pooling", "prefers_workspace", "probe")
    }


@pytest.fixture
def kernels(library: Path, monkeypatch: pytest.MonkeyPatch) -> Kernels:
    """The library without a GPU: each launch fails."""
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: SimpleNamespace(cuda_stream=0))
    return Kernels(library)


def attend(kernels: Kernels, **changes: Any) -> None:
    arguments = {
        "qkv": torch.zeros(5, 3 * 2 * 32),
        "cu_seqlens": torch.tensor([0, 5], dtype=torch.int32),
        "rope": torch.zeros(5, 32),
        "num_heads": 2,
        "scale": 1.0,
        "window": -1,
        **changes,
    }
    kernels.attention(**arguments)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_heads": 0}, "num_heads is 0"),
        ({"window": -7}, "window is -7"),
        ({"scale": float("nan")}, "scale is"),
        ({"rope": torch.zeros(5, 48)}, "48"),
        ({"rope": torch.zeros(0, 32)}, "rope has no rows"),
        # Valid arguments: the call fails at the missing GPU.
        ({}, "CUDA"),
        ({"in_workspace": True}, "CUDA"),
        ({"qkv": torch.zeros(5, 3 * 2 * 32, dtype=torch.bfloat16)}, "CUDA"),
    ],
)
def test_arguments_arrive_where_they_belong(
    changes: dict[str, Any], message: str, kernels: Kernels
) -> None:
    with pytest.raises(BackendError, match=f"'attention' refuses: .*{message}"):
        attend(kernels, **changes)


def test_nothing_is_launched_for_nothing(kernels: Kernels) -> None:
    none = torch.zeros(1, dtype=torch.int32)
    attend(kernels, qkv=torch.zeros(0, 3 * 2 * 32), cu_seqlens=none)
    assert kernels.pooling(torch.zeros(0, 64), none, "mean").shape == (0, 64)


def test_probes_are_known_by_name_and_size(kernels: Kernels, monkeypatch: Any) -> None:
    monkeypatch.setattr(torch.Tensor, "cuda", lambda tensor: tensor)
    zeros = torch.zeros
    monkeypatch.setattr(torch, "zeros", lambda *sizes, device, **kinds: zeros(*sizes, **kinds))
    words = np.zeros((32, 2), np.uint32)
    for name, message in (
        ("mma_k99", "no probe is named 'mma_k99'"),
        ("mma_k8", "mma_k8 needs 224 words and gives 128"),
        ("shuffle_xor", "CUDA"),
    ):
        with pytest.raises(BackendError, match=message):
            kernels.probe(name, words, 1)


def test_the_librarys_preference(kernels: Kernels) -> None:
    assert kernels.prefers_workspace(-1)
    assert not kernels.prefers_workspace(64)


def test_probes_compile_for_turing(nvcc: Path, tmp_path: Path) -> None:
    commands = compile_commands(ROOT, tmp_path, 75, nvcc)
    assert tmp_path / "attention_BFloat16.o" not in commands  # Turing's tensor cores lack bfloat16
    subprocess.run(commands[tmp_path / "kernels.o"], check=True)


def test_says_what_nvcc_said(nvcc: Path, tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=r"nvcc failed \(1\)(.|\n)*gpu.*sm_12"):
        build(ROOT, tmp_path, 12, nvcc)


def test_missing_nvcc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mbert.bench.gpu.build.NVCC_PLACES", ())
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CUDACXX", raising=False)
    with pytest.raises(BackendError, match=r"There is no nvcc.*CUDACXX"):
        find_nvcc()
