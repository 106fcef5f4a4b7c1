"""The compiled operator libraries: their paths, their version, and what they support."""

from __future__ import annotations

import ctypes
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
    "supported_isas",
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
    """Return the library for ``SessionOptions.register_custom_ops_library``: the CPU operators.

    The installed package contains it; the environment variable ``MBERT_ONNXRUNTIME_LIBRARY``
    overrides it.

    Raises:
        BackendError: The file is missing, or belongs to another version of mbert.
    """
    return _library("libmbert_onnxruntime.so", "MBERT_ONNXRUNTIME_LIBRARY", _INSTALL)


def onnxruntime_cuda_library() -> Path:
    """Return ONNX Runtime's library with the CPU and the CUDA operators.

    Register it instead of `onnxruntime_library`: a session takes one of the two. A package that was
    built with CUDA contains it; ``MBERT_ONNXRUNTIME_CUDA_LIBRARY`` overrides it.

    Raises:
        BackendError: As for `onnxruntime_library`.
    """
    return _library("libmbert_onnxruntime_cuda.so", "MBERT_ONNXRUNTIME_CUDA_LIBRARY", _INSTALL_CUDA)


def tensorrt_library() -> Path:
    """Return the library for ``IPluginRegistry.load_library``: the TensorRT plugins.

    A package that was built with CUDA contains it; ``MBERT_TENSORRT_LIBRARY`` overrides it.

    Raises:
        BackendError: As for `onnxruntime_library`.
    """
    return _library("libmbert_tensorrt.so", "MBERT_TENSORRT_LIBRARY", _INSTALL_CUDA)


def supported_isas() -> tuple[str, ...]:
    """Return the instruction sets that the CPU kernels can use here, from slow to fast.

    The names are values of the environment variable ``MBERT_ISA``; the last one is the default.
    Loads `onnxruntime_library`, which needs neither ONNX Runtime nor its libraries.

    Raises:
        BackendError: As for `onnxruntime_library`, or the library cannot be loaded.
    """
    path = onnxruntime_library()
    try:
        query = ctypes.CDLL(str(path)).mbert_supported_isas
    except (OSError, AttributeError) as error:
        raise BackendError(f"The operator library {path} is not usable: {error}.") from error
    query.restype = ctypes.c_char_p
    return tuple(query().decode().split())


def library_version(path: Path) -> str | None:
    """Return the version of mbert that a library was built from, without loading the library.

    Returns:
        None for a file without a version mark.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:  # an empty file cannot be mapped
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
    # A file without a mark passes: loading it fails, or the user built it on purpose.
    if version not in (None, __version__):
        raise BackendError(
            f"The operator library {path} is of mbert {version}, but this is mbert {__version__}. "
            + (f"Correct {variable}" if override else "Install mbert again")
            + ", so that both are of one version."
        )
    return path
