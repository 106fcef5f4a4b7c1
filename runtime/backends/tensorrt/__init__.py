"""TensorRT and TensorRT-RTX: build engines, cache them, run them.

Both have the same Python API under two module names; a :class:`Library` object stands for each.
Neither module is imported before a bundle or an export needs it.
"""

from __future__ import annotations

from .api import Library
from .tensorrt import TensorRT
from .tensorrt_rtx import TensorRTRTX

__all__ = ["LIBRARIES", "TENSORRT", "TENSORRT_RTX", "Library"]

TENSORRT = TensorRT()
TENSORRT_RTX = TensorRTRTX()
# By the backend's name in manifests.
LIBRARIES: dict[str, Library] = {library.name: library for library in (TENSORRT, TENSORRT_RTX)}
