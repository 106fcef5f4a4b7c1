"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path

from mbert.plugins import supported_isas
from mbert.runtime.cores import usable_cores

# Below this nothing else of note runs.
QUIET_LOAD = 0.5


@dataclass(frozen=True)
class Machine:
    """The machine and how busy it was before anything was measured.

    ``instructions`` are the instruction sets that mbert's kernels can use, from slow to fast;
    ``load`` is the number of runnable tasks, averaged over the last minute.
    """

    processor: str
    instructions: tuple[str, ...]
    cores: int
    memory_bytes: int
    system: str
    python: str
    load: float

    @property
    def busy(self) -> bool:
        """Whether other work ran."""
        return self.load > QUIET_LOAD


def this_machine() -> Machine:
    """Describe the machine; ``cores`` are those that this process may use."""
    return Machine(
        # On ARM, /proc/cpuinfo has no model name.
        processor=_cpuinfo("model name") or platform.processor() or platform.machine(),
        instructions=supported_isas(),
        cores=usable_cores(),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        load=os.getloadavg()[0],
    )


def _cpuinfo(field: str) -> str:
    """Return a field of the first processor; empty where there is none."""
    try:
        info = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    found = re.search(rf"^{field}\s*:\s*(.+)$", info, re.MULTILINE)
    return found[1].strip() if found else ""
