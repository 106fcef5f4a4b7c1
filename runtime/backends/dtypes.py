"""Element types on the host, and the conversion of outputs to float32."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def host_dtype(name: str) -> np.dtype[Any]:
    """Return the numpy type of a manifest's type; uint16 for bfloat16's bits."""
    return np.dtype(np.uint16 if name == "bfloat16" else name)


def as_float32(values: NDArray[Any]) -> NDArray[np.float32]:
    """Convert an output to float32; uint16 holds the bits of bfloat16."""
    if values.dtype == np.uint16:
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float32, copy=False)
