"""A machine with a GPU, as far as Python can see: doubles of CUDA's bindings and of TensorRT.

Nothing here can run an engine for real. What is tested is mbert's own part: which arrays go where,
what is allocated, captured and freed, and what is said when something is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mbert.runtime.backends import cuda as cuda_module
from mbert.runtime.backends.tensorrt import Library
from mbert.runtime.manifest import Manifest
from support.fake_cuda import FakeCuda
from support.fake_tensorrt import FakeTensorRT
from support.gpu_bundles import fake_library


@pytest.fixture(autouse=True)
def _own_engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test its own engine cache."""
    monkeypatch.setenv("MBERT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def give_gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakeCuda]:
    """Put GPUs into the machine."""

    def give(*capabilities: str, **arguments: Any) -> FakeCuda:
        fake = FakeCuda(*capabilities, **arguments)
        monkeypatch.setattr(cuda_module, "_runtime", lambda: fake)
        monkeypatch.setattr(cuda_module, "_DRIVER", "libc.so.6")
        return fake

    return give


@pytest.fixture
def give_library(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakeTensorRT]:
    """Install a library that can run the bundle of a manifest."""

    def give(manifest: Manifest, cuda: FakeCuda, **arguments: Any) -> FakeTensorRT:
        fake = fake_library(manifest, cuda, **arguments)
        monkeypatch.setattr(Library, "load", lambda self: fake)
        return fake

    return give
