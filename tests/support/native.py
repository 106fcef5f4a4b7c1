"""Building the native sources with other options than the wheel's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def cmake_build(folder: str, *options: str, target: str = "all") -> Path:
    """Configure and build into ``build/<folder>`` (quick when nothing changed); return it."""
    build = ROOT / "build" / folder
    cmake = shutil.which("cmake", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert cmake is not None
    for command in (
        [cmake, "-S", ROOT, "-B", build, *options],
        [cmake, "--build", build, "--parallel", "2", "--target", target],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return build
