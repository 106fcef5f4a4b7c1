"""The peak of a process's resident memory, and how to start counting anew."""

from __future__ import annotations

import ctypes
import os
import re
import resource
from pathlib import Path

_STATUS = Path("/proc/self/status")
_MEMINFO = Path("/proc/meminfo")
_CLEAR_REFS = Path("/proc/self/clear_refs")
# After a reset the peak is the present size; a page more may have come since.
_SLACK_BYTES = 16 << 20


def peak_bytes() -> int:
    """Return the largest resident size of this process since it began or since the last reset."""
    peak = _status_bytes("VmHWM")
    if peak is None:  # a /proc without it
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return peak


def resident_bytes() -> int:
    """Return the present resident size of this process."""
    return _status_bytes("VmRSS") or 0


def available_bytes() -> int:
    """Return what the system can still give to processes without swapping."""
    available = _bytes(_MEMINFO, "MemAvailable")
    if available is None:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return available


def reset_peak() -> bool:
    """Set the peak to the present size; False where the system does not let us."""
    _release_freed()
    try:
        _CLEAR_REFS.write_text("5")
    except OSError:
        return False
    peak, present = _status_bytes("VmHWM"), _status_bytes("VmRSS")
    # Sandboxes accept the write and ignore it.
    return peak is not None and present is not None and peak - present <= _SLACK_BYTES


def _release_freed() -> None:
    """Give back what malloc holds of freed memory, so that the next peak does not include it."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc only
    if trim is not None:
        trim(0)


def _status_bytes(key: str) -> int | None:
    return _bytes(_STATUS, key)


def _bytes(path: Path, key: str) -> int | None:
    try:
        found = re.search(rf"^{key}:\s+(\d+) kB$", path.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None
