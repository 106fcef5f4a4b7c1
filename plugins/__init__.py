"""The operators outside Python: where their compiled libraries are."""

from __future__ import annotations

import os
from pathlib import Path

from mbert.errors import BackendError

__all__ = ["onnxruntime_library"]

_OVERRIDE = "MBERT_ONNXRUNTIME_LIBRARY"


def onnxruntime_library() -> Path:
    """The operator library for ONNX Runtime, for ``SessionOptions.register_custom_ops_library``.

    It is part of the installed package; the environment variable ``MBERT_ONNXRUNTIME_LIBRARY``
    names another one.

    Raises:
        BackendError: there is no such file.
    """
    override = os.environ.get(_OVERRIDE)
    if override:
        path = Path(override).resolve()
        if not path.is_file():
            raise BackendError(
                f"The environment variable {_OVERRIDE} names {path}, which is not a file. Correct "
                "it, or unset it to use the library of the installed package."
            )
        return path
    path = Path(__file__).resolve().parent / "lib" / "libmbert_onnxruntime.so"
    if not path.is_file():
        raise BackendError(
            f"The operator library {path} is missing. Install mbert from a wheel or with "
            "`pip install .`, which compiles it (the source tree alone does not have it), or set "
            f"{_OVERRIDE} to a build of it."
        )
    return path
