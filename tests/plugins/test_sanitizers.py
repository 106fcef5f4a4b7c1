"""The operator library under AddressSanitizer and UndefinedBehaviorSanitizer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.native import ROOT, cmake_build


@pytest.mark.thorough
@pytest.mark.timeout(1800)  # a build, and checked accesses
def test_operators_are_clean() -> None:
    """The operators' own tests, bad inputs included, pass with every access checked."""
    build = cmake_build(
        "sanitize",
        "-DMBERT_SANITIZE=address;undefined",
        "-DMBERT_EMULATE_AMX=ON",
        "-DMBERT_BUILD_CUDA=OFF",
    )
    library = build / "plugins" / "onnxruntime" / "libmbert_onnxruntime.so"
    runtimes = [
        subprocess.run(
            ["g++", f"-print-file-name={name}"], capture_output=True, text=True, check=True
        ).stdout.strip()
        for name in ("libasan.so", "libubsan.so")
    ]
    environment = {
        **os.environ,
        "LD_PRELOAD": ":".join(runtimes),
        # The interpreter and torch leak by design; the first error ends the process.
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1:detect_odr_violation=0",
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
        "MBERT_ONNXRUNTIME_LIBRARY": str(library),
    }
    operators = ("varlen_attention", "varlen_pooling", "linear")
    tests = [str(Path(__file__).parent / f"test_{name}.py") for name in operators]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-m", "", "-p", "no:cacheprovider", *tests],
        env=environment,
        cwd=ROOT / "tests",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert " passed" in done.stdout
