"""Build the native sources with other options than the wheel's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def cmake_build(folder: str, *options: str, target: str = "all") -> Path:
    """Configure and build into ``build/<folder>``, incrementally; return the folder."""
    build = ROOT / "build" / folder
    cmake_configure(build, *options)
    _cmake("--build", build, "--parallel", "2", "--target", target)
    return build


def cmake_configure(build: Path, *options: str) -> None:
    """Write the build files into ``build``."""
    _cmake("-S", ROOT, "-B", build, *options)


def _cmake(*arguments: str | Path) -> None:
    cmake = shutil.which("cmake", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert cmake is not None
    done = subprocess.run([cmake, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
