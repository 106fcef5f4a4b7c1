"""The compilers of this machine."""

from __future__ import annotations

import os
import shutil

import pytest


def has_nvcc() -> bool:
    """Tell whether plugins/cmake/EnableCuda.cmake would find nvcc."""
    path = f"{os.environ['PATH']}:/usr/local/cuda/bin"
    return "CUDACXX" in os.environ or shutil.which("nvcc", path=path) is not None


needs_nvcc = pytest.mark.skipif(not has_nvcc(), reason="built without CUDA: there is no nvcc")
