"""The layout of a call's tensors in one input buffer and one output buffer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...manifest import Profile, TensorSpec
from .profiles import round_up, shape_at

# The alignment of CUDA's own allocations, in bytes; kernels may rely on it.
_ALIGNMENT = 256


@dataclass(frozen=True)
class Slot:
    """One tensor of a buffer: its offset in bytes, its shape and its numpy type.

    numpy has no bfloat16: uint16 holds its bits.
    """

    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def end(self) -> int:
        """Return the offset of the first byte behind the tensor."""
        return self.offset + int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def of(self, buffer: NDArray[np.uint8]) -> NDArray[Any]:
        """Return the tensor as a view of ``buffer``."""
        return buffer[self.offset : self.end].view(self.dtype).reshape(self.shape)


def lay_out(
    specs: Iterable[TensorSpec], dtypes: Mapping[str, np.dtype[Any]], sizes: Mapping[str, int]
) -> dict[str, Slot]:
    """Place tensors one behind the other, so that a single copy moves all of them."""
    slots: dict[str, Slot] = {}
    end = 0
    for spec in specs:
        slots[spec.name] = Slot(round_up(end, _ALIGNMENT), shape_at(spec, sizes), dtypes[spec.name])
        end = slots[spec.name].end
    return slots


def span(slots: Mapping[str, Slot]) -> int:
    """Return the size in bytes of a buffer for ``slots``."""
    return max((slot.end for slot in slots.values()), default=0)


def capacity(
    specs: Sequence[TensorSpec],
    dtypes: Mapping[str, np.dtype[Any]],
    profiles: Iterable[Profile],
) -> int:
    """Return the size in bytes of a buffer that holds any call of any profile."""
    largest = ({symbol: most for symbol, (_, _, most) in p.ranges.items()} for p in profiles)
    return max(span(lay_out(specs, dtypes, sizes)) for sizes in largest)
