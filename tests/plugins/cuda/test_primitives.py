"""The primitives of the emulated GPU, against tables from the PTX manual.

The tables and checks are in tests/support/primitives.py; bench/gpu runs them on a GPU.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from support.emulated import EmulationError, run_probe
from support.primitives import CHECKS, Probe

NAMES = [name for name, _, _ in CHECKS]


def _check(name: str, probe: Probe) -> None:
    next(check for known, _, check in CHECKS if known == name)(probe)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", NAMES)
def test_primitive(name: str, seed: int) -> None:
    _check(name, partial(run_probe, seed=seed))


@pytest.mark.parametrize("name", [name for name, capability, _ in CHECKS if capability == 75])
def test_turing_has_it(name: str) -> None:
    _check(name, partial(run_probe, capability=75))


@pytest.mark.parametrize("name", ["cp_async16", "mma_k16_float16", "mma_k16_bfloat16"])
def test_turing_lacks(name: str) -> None:
    threads, inputs, outputs = {"cp_async16": (64, 12, 8)}.get(name, (32, 10, 4))
    words = np.zeros((threads, inputs), np.uint32)
    with pytest.raises(EmulationError, match=r"needs compute capability 80, .* runs on 75"):
        run_probe(name, words, outputs, capability=75)
