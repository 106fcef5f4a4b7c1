"""The GPUs that a bundle can be made for.

Figures are of NVIDIA's data sheets: the SXM form where a card has several, at boost clocks, without
sparsity. The compute capability decides what can be compiled; the others feed predictions only.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

from mbert.errors import ExportError


@dataclass(frozen=True)
class Figures:
    """Peak figures of a card, from its data sheet.

    Attributes:
        memory_gb: size of the card's memory, 10^9 bytes.
        bandwidth_gbs: of that memory, 10^9 bytes per second.
        half_tflops: float16 matrix products accumulated in float32, 10^12 operations per second.
        single_tflops: float32 outside tensor cores, 10^12 operations per second.
        multiprocessors: streaming multiprocessors.
        l2_mb: size of the L2 cache, 2^20 bytes.
    """

    memory_gb: float
    bandwidth_gbs: float
    half_tflops: float
    single_tflops: float
    multiprocessors: int
    l2_mb: float


@dataclass(frozen=True)
class Target:
    """A GPU by name; ``figures`` is None for ``sm_XX``, a bare compute capability."""

    name: str
    compute_capability: str  # "8.9"
    geforce: bool = False
    figures: Figures | None = None

    @property
    def sm(self) -> int:
        """Return the compute capability as compilers write it: 89 for 8.9."""
        return int(self.compute_capability.replace(".", ""))

    @property
    def has_bfloat16(self) -> bool:
        """Return whether its tensor cores take bfloat16, as those of 8.0 and newer do."""
        return self.sm >= 80


def _target(name: str, capability: str, *figures: float, geforce: bool = False) -> Target:
    memory, bandwidth, half, single, multiprocessors, l2 = figures
    return Target(
        name,
        capability,
        geforce,
        Figures(memory, bandwidth, half, single, int(multiprocessors), l2),
    )


_ALL = (
    # name, compute capability, memory GB, GB/s, float16 TFLOP/s, float32 TFLOP/s, SMs, L2 MB
    _target("t4", "7.5", 16, 320, 65, 8.1, 40, 4),
    _target("rtx3090", "8.6", 24, 936, 71, 35.6, 82, 6, geforce=True),
    _target("rtx4080", "8.9", 16, 717, 97.5, 48.7, 76, 64, geforce=True),
    _target("rtx4090", "8.9", 24, 1008, 165.2, 82.6, 128, 72, geforce=True),
    _target("rtx5080", "12.0", 16, 960, 112.6, 56.3, 84, 64, geforce=True),
    _target("rtx5090", "12.0", 32, 1792, 209.5, 104.8, 170, 96, geforce=True),
    _target("a10", "8.6", 24, 600, 125, 31.2, 72, 6),
    _target("a10g", "8.6", 24, 600, 70, 31.5, 80, 6),
    _target("a30", "8.0", 24, 933, 165, 10.3, 56, 24),
    _target("a40", "8.6", 48, 696, 149.7, 37.4, 84, 6),
    _target("a100", "8.0", 80, 2039, 312, 19.5, 108, 40),
    _target("a6000", "8.6", 48, 768, 154.8, 38.7, 84, 6),
    _target("l4", "8.9", 24, 300, 121, 30.3, 58, 48),
    _target("l40", "8.9", 48, 864, 181, 90.5, 142, 96),
    _target("l40s", "8.9", 48, 864, 362, 91.6, 142, 96),
    _target("h100", "9.0", 80, 3350, 989, 67, 132, 50),
    _target("h200", "9.0", 141, 4800, 989, 67, 132, 50),
    _target("b200", "10.0", 180, 8000, 2250, 80, 148, 126),
    _target("orin", "8.7", 64, 205, 42, 5.3, 16, 4),
)
TARGETS = {target.name: target for target in _ALL}

# The oldest GPUs that the kernels are compiled for; they need m16n8k8 of sm_75.
LEAST_SM = 75
_SM = re.compile(r"sm_?(\d{2,3})")


def target_of_card(name: str) -> Target | None:
    """Return the target of a card by its driver's name; None if it is unknown.

    "NVIDIA A100-SXM4-80GB" is a100, "NVIDIA L40S" is l40s.
    """
    card = _normalised(name)
    known = [target for target in TARGETS if card.startswith(target)]
    return TARGETS[max(known, key=len)] if known else None


def find_target(name: str) -> Target:
    """Look up a GPU by its name or as ``sm_XX``.

    Case, blanks, hyphens and underscores are ignored.

    Raises:
        ExportError: no such GPU (the message has the nearest names), or one that is too old.
    """
    key = _normalised(name)
    if key in TARGETS:
        return TARGETS[key]
    if match := _SM.fullmatch(key):
        digits = match[1]
        target = Target(f"sm_{digits}", f"{digits[:-1]}.{digits[-1]}")
        if target.sm < LEAST_SM:
            raise ExportError(
                f"The GPU {name!r} is of compute capability {target.compute_capability}; mbert "
                "needs 7.5 (T4, RTX 20) or newer."
            )
        return target
    nearest = difflib.get_close_matches(key, TARGETS, n=3, cutoff=0.5)
    meant = f"Did you mean {' or '.join(nearest)}? " if nearest else ""
    raise ExportError(
        f"There is no target {name!r}. {meant}Known are {', '.join(TARGETS)}, and sm_XX for any "
        "other compute capability (`mbert-export --list-gpus` prints them)."
    )


def _normalised(name: str) -> str:
    plain = re.sub(r"[\s_-]+", "", name.lower())
    for prefix in ("nvidia", "geforce", "tesla"):
        plain = plain.removeprefix(prefix)
    return plain
