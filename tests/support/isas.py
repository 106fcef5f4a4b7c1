"""The instruction sets of the CPU kernels: those of the sources, and those to test here."""

from __future__ import annotations

import re
from typing import NamedTuple

from mbert.plugins import supported_isas
from support.native import ROOT


class Isa(NamedTuple):
    """An entry of plugins/cpu/isa_list.h."""

    name: str
    parent: str
    attention: str  # the instruction set whose attention kernels it runs
    needs: frozenset[str]  # what the processor must have beyond the parent's needs


def _listed() -> tuple[Isa, ...]:
    text = (ROOT / "plugins" / "cpu" / "isa_list.h").read_text(encoding="utf-8")
    entries = re.findall(r"^MBERT_ISA\((\w+), \w+, (\w+), (\w+),([^\"]+),\s*\"", text, re.MULTILINE)
    return tuple(
        Isa(name, parent, attention, frozenset(re.findall(r"(\w+)\(\)", needs)))
        for name, parent, attention, needs in entries
    )


# All entries, for any architecture, with amx_emulated, which only test builds have.
LISTED = _listed()
# Those that the operator library under test supports on this processor.
ISAS = supported_isas()
# Those with attention kernels; the others extend linear layers only.
FLOAT_ISAS = tuple(isa.name for isa in LISTED if isa.name in ISAS and isa.attention == isa.name)
