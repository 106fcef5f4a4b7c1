"""A windowed layer takes linear time, counted in instructions: other load has no effect."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from support.isas import FLOAT_ISAS
from support.native import cmake_build

# Counts instructions under valgrind.
pytestmark = pytest.mark.thorough

# For eight times the tokens. The windows at the two ends of a sequence are shorter.
LARGEST_RATIO = 8.4


@pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind counts the instructions")
@pytest.mark.skipif("avx2" not in FLOAT_ISAS, reason="of the kernels, valgrind runs AVX2's")
def test_windowed_attention_is_linear_in_tokens() -> None:
    build = cmake_build("tests", "-DMBERT_BUILD_TESTS=ON", target="windowed_attention")
    program = build / "tests" / "plugins" / "windowed_attention"
    counts = [_instructions(program, tokens) for tokens in (1024, 8192)]
    assert counts[0] > 1_000_000
    assert counts[1] <= LARGEST_RATIO * counts[0]


def _instructions(program: Path, tokens: int) -> int:
    # Count the attention only, not the start of the program.
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    command += ["--toggle-collect=mbert::cpu::run*", str(program), str(tokens)]
    # valgrind supports AVX2, not AVX-512.
    environment = {**os.environ, "MBERT_ISA": "avx2"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found = re.search(r"Collected : (\d+)", done.stderr)
    assert found is not None, done.stderr
    return int(found[1])
