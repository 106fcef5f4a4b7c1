"""The precisions, one file each. A new one is a file and an entry here."""

from __future__ import annotations

from collections.abc import Iterable

from mbert.errors import ExportError

from .base import Calibration, Precision, Processor
from .bf16 import CpuBFloat16, GpuBFloat16
from .fp16 import GpuFloat16
from .fp32 import CpuFloat32, GpuFloat32
from .int8 import CpuInt8

__all__ = ["AUTO", "PRECISIONS", "Calibration", "Precision", "Processor", "find_precision"]

PRECISIONS: tuple[Precision, ...] = (
    CpuFloat32(),
    CpuBFloat16(),
    CpuInt8(),
    GpuFloat16(),
    GpuBFloat16(),
    GpuFloat32(),
)
# The candidates of "auto", the best first; the first one that the activations fit is taken. All
# candidates of a processor share a calibration.
AUTO: dict[Processor, tuple[str, ...]] = {"cpu": ("fp32",), "gpu": ("fp16", "bf16")}
_PLURAL = {"cpu": "CPUs (--cpu)", "gpu": "GPUs (--gpu)"}
_ON = {"cpu": "On the CPU", "gpu": "On a GPU"}


def find_precision(name: str, processor: Processor) -> Precision:
    """Return the precision of a name on a kind of processor.

    Raises:
        ExportError: that processor has no such precision.
    """
    for precision in PRECISIONS:
        if (precision.name, precision.processor) == (name, processor):
            return precision
    known = (precision.name for precision in PRECISIONS if precision.processor == processor)
    processors = (precision.processor for precision in PRECISIONS if precision.name == name)
    raise ExportError(
        f"{name} is for {_listed((_PLURAL[other] for other in processors), 'and')}. "
        f"{_ON[processor]} the precision is {_listed(known, 'or')}."
    )


def _listed(names: Iterable[str], word: str) -> str:
    *most, last = names
    return f"{', '.join(most)} {word} {last}" if most else last
