"""Where each tensor of a call lies in the one buffer for inputs and the one for outputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..manifest import Profile, TensorSpec
from ..profiles import round_up, shape_at

# CUDA aligns its own allocations so; kernels may rely on it.
_ALIGNMENT = 256


@dataclass(frozen=True)
class Slot:
    """One tensor: bytes from the start of the buffer, shape and type on the host.

    bfloat16 has no numpy type; its bits are uint16.
    """

    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def end(self) -> int:
        """The first byte after it."""
        return self.offset + int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def of(self, buffer: NDArray[np.uint8]) -> NDArray[Any]:
        """The tensor as a view of ``buffer``."""
        return buffer[self.offset : self.end].view(self.dtype).reshape(self.shape)


def host_dtype(name: str) -> np.dtype[Any]:
    """The type on the host of one that a manifest names."""
    return np.dtype(np.uint16 if name == "bfloat16" else name)


def lay_out(
    specs: Iterable[TensorSpec], dtypes: Mapping[str, np.dtype[Any]], sizes: Mapping[str, int]
) -> dict[str, Slot]:
    """Put tensors one behind the other, so that one copy moves them all."""
    slots: dict[str, Slot] = {}
    end = 0
    for spec in specs:
        slots[spec.name] = Slot(round_up(end, _ALIGNMENT), shape_at(spec, sizes), dtypes[spec.name])
        end = slots[spec.name].end
    return slots


def span(slots: Mapping[str, Slot]) -> int:
    """Bytes that a buffer for ``slots`` has."""
    return max((slot.end for slot in slots.values()), default=0)


def capacity(
    specs: Sequence[TensorSpec],
    dtypes: Mapping[str, np.dtype[Any]],
    profiles: Iterable[Profile],
) -> int:
    """Bytes of a buffer that holds any call of any profile."""
    largest = ({symbol: most for symbol, (_, _, most) in p.ranges.items()} for p in profiles)
    return max(span(lay_out(specs, dtypes, sizes)) for sizes in largest)


def as_float32(values: NDArray[Any]) -> NDArray[np.float32]:
    """Convert what an engine gave; uint16 holds the bits of bfloat16, the upper half of float32."""
    if values.dtype == np.uint16:
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float32, copy=False)
