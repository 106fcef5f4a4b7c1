"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path

from mbert.runtime.cores import usable_cores

# Below this nothing else of note runs.
QUIET_LOAD = 0.5


@dataclass(frozen=True)
class Machine:
    """The machine and how busy it was before anything was measured.

    ``load`` is the number of runnable tasks, averaged over the last minute.
    """

    processor: str
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
        processor=_processor(),
        cores=usable_cores(),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        load=os.getloadavg()[0],
    )


def _processor() -> str:
    try:
        info = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        info = ""
    # ARM's has no such line.
    found = re.search(r"^model name\s*:\s*(.+)$", info, re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine()
