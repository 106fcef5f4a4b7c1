"""The operators outside Python: where their compiled libraries are."""

from __future__ import annotations

import mmap
import os
import re
from pathlib import Path

from mbert import __version__
from mbert.errors import BackendError

__all__ = [
    "library_version",
    "onnxruntime_cuda_library",
    "onnxruntime_library",
    "tensorrt_library",
]

_INSTALL = (
    "Install mbert from a wheel or with `pip install .`, which compiles it (the source tree alone "
    "does not have it)"
)
_INSTALL_CUDA = (
    "This installation was built without it: install mbert with `pip install .` on a machine that "
    "has nvcc (docs/platforms.md)"
)


def onnxruntime_library() -> Path:
    """The operators for ONNX Runtime on CPUs, for ``SessionOptions.register_custom_ops_library``.

    It is part of the installed package; the environment variable ``MBERT_ONNXRUNTIME_LIBRARY``
    names another one.

    Raises:
        BackendError: there is no such file, or it is of another version of mbert.
    """
    return _library("libmbert_onnxruntime.so", "MBERT_ONNXRUNTIME_LIBRARY", _INSTALL)


def onnxruntime_cuda_library() -> Path:
    """The operators for ONNX Runtime on CPUs and on CUDA.

    To be registered in place of `onnxruntime_library`: a session takes one of them. Part of a
    package that was built with CUDA; ``MBERT_ONNXRUNTIME_CUDA_LIBRARY`` names another one.

    Raises:
        BackendError: as `onnxruntime_library`.
    """
    return _library("libmbert_onnxruntime_cuda.so", "MBERT_ONNXRUNTIME_CUDA_LIBRARY", _INSTALL_CUDA)


def tensorrt_library() -> Path:
    """The operators as TensorRT plugins, for ``IPluginRegistry.load_library``.

    Part of a package that was built with CUDA; ``MBERT_TENSORRT_LIBRARY`` names another one.

    Raises:
        BackendError: as `onnxruntime_library`.
    """
    return _library("libmbert_trt.so", "MBERT_TENSORRT_LIBRARY", _INSTALL_CUDA)


def library_version(path: Path) -> str | None:
    """The version of mbert that an operator library was built from, without loading it.

    Returns:
        None for a file that bears no mark of mbert's.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:  # which cannot be mapped
            return None
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            mark = re.search(rb"@\(#\)mbert ([0-9A-Za-z.+!-]+)\0", content)
            return mark[1].decode() if mark else None


def _library(name: str, variable: str, install: str) -> Path:
    override = os.environ.get(variable)
    if override:
        path = Path(override).resolve()
        if not path.is_file():
            raise BackendError(
                f"The environment variable {variable} names {path}, which is not a file. Correct "
                "it, or unset it to use the library of the installed package."
            )
    else:
        path = Path(__file__).resolve().parent / "lib" / name
        if not path.is_file():
            raise BackendError(
                f"The operator library {path} is missing. {install}, or set {variable} to a build "
                "of it."
            )
    version = library_version(path)
    # Without a mark it is left to whoever loads it: that fails, or the builder knows better.
    if version not in (None, __version__):
        raise BackendError(
            f"The operator library {path} is of mbert {version}, but this is mbert {__version__}. "
            + (f"Correct {variable}" if override else "Install mbert again")
            + ", so that both are of one version."
        )
    return path
