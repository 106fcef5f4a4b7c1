"""The instruction sets of the CPU kernels that this processor runs."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def _usable() -> list[str]:
    flags = set(Path("/proc/cpuinfo").read_text().split())
    if platform.machine() == "aarch64":
        return ["scalar", "neon", *(["neon_dot"] if "asimddp" in flags else [])]
    avx2 = {"avx2", "fma", "f16c"}
    avx512 = avx2 | {"avx512f", "avx512bw", "avx512dq", "avx512vl"}
    avx512_bf16 = avx512 | {"avx512_vnni", "avx512_bf16"}
    needed = {
        "avx2": avx2,
        "avx_vnni": avx2 | {"avx_vnni"},
        "avx512": avx512,
        "avx512_vnni": avx512 | {"avx512_vnni"},
        "avx512_bf16": avx512_bf16,
        "amx": avx512_bf16 | {"amx_tile", "amx_int8", "amx_bf16"},
    }
    return ["scalar", *(isa for isa, names in needed.items() if names <= flags)]


# The operator library that is tested may have been built with emulated tiles (MBERT_EMULATE_AMX).
ISAS = _usable() + (["amx_emulated"] if os.environ.get("MBERT_EMULATE_AMX") else [])
# Those that have attention kernels of their own: the others add instructions for linear layers.
FLOAT_ISAS = [isa for isa in ISAS if isa in ("scalar", "avx2", "avx512", "neon")]
