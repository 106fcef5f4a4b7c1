"""The CPU kernels under valgrind: no undefined or out-of-bounds read, no leak."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from support.isas import ISAS
from support.native import cmake_build

# Runs the kernels under valgrind.
pytestmark = pytest.mark.thorough

# Those that valgrind supports, and the AMX kernels on emulated tiles.
EMULATED = [*(isa for isa in ISAS if isa in ("scalar", "avx2", "neon")), "amx_emulated"]


@pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind watches the memory")
@pytest.mark.parametrize("isa", EMULATED)
def test_kernels_touch_what_is_theirs(isa: str) -> None:
    options = ("-DMBERT_BUILD_TESTS=ON", "-DMBERT_EMULATE_AMX=ON")
    build = cmake_build("tests", *options, target="exact_buffers")
    program = build / "tests" / "plugins" / "exact_buffers"
    command = ["valgrind", "--error-exitcode=99", "--leak-check=full", "--quiet", str(program)]
    environment = {**os.environ, "MBERT_ISA": isa}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stderr == ""
