"""The instruction sets of the CPU kernels that this processor runs."""

from __future__ import annotations

import platform
from pathlib import Path


def _usable() -> list[str]:
    if platform.machine() == "aarch64":
        return ["scalar", "neon"]
    flags = set(Path("/proc/cpuinfo").read_text().split())
    needed = {
        "avx2": {"avx2", "fma", "f16c"},
        "avx512": {"avx512f", "avx512bw", "avx512dq", "avx512vl"},
    }
    return ["scalar", *(isa for isa, names in needed.items() if names <= flags)]


ISAS = _usable()
