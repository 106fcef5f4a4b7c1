"""The instruction sets of the CPU kernels: all of them, and those to test here."""

from __future__ import annotations

import re
from typing import NamedTuple

from mbert.plugins import supported_isas
from support.native import ROOT


class Isa(NamedTuple):
    """An entry of plugins/cpu/isa_list.h."""

    name: str
    parent: str
    attention: str  # the instruction set of its attention kernels
    needs: frozenset[str]  # processor features beyond the parent's


def _listed() -> tuple[Isa, ...]:
    text = (ROOT / "plugins" / "cpu" / "isa_list.h").read_text(encoding="utf-8")
    entries = re.findall(r"^MBERT_ISA\((\w+), \w+, (\w+), (\w+),([^\"]+),\s*\"", text, re.MULTILINE)
    return tuple(
        Isa(name, parent, attention, frozenset(re.findall(r"(\w+)\(\)", needs)))
        for name, parent, attention, needs in entries
    )


# All entries of all architectures, with amx_emulated, which only test builds have.
LISTED = _listed()
# Supported by the library under test on this processor.
ISAS = supported_isas()
# With attention kernels; the others have linear layers alone.
FLOAT_ISAS = tuple(isa.name for isa in LISTED if isa.name in ISAS and isa.attention == isa.name)
