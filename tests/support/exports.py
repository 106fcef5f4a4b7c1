"""Contents of folders, and folders that cannot be written, for tests of exports."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mbert.runtime.bundle import file_sha256

# The steps of an export, in order.
STEPS = (
    "read the checkpoint",
    "run PyTorch",
    "write the model",
    "verify",
    "finish the bundle",
)


def contents(folder: Path) -> dict[str, tuple[str, int]]:
    """Return hash and modification time of each file, hidden ones included."""
    return {
        str(path.relative_to(folder)): (file_sha256(path), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def listed(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


@contextmanager
def read_only(folder: Path) -> Iterator[Path]:
    folder.mkdir()
    if os.geteuid() == 0:  # root may write despite the mode
        with mounted(folder, "ro"):
            yield folder
    else:
        folder.chmod(0o500)
        yield folder
        folder.chmod(0o700)


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    """Mount an empty file system over ``folder``."""
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if os.geteuid() or shutil.which("mount") is None or subprocess.run(command).returncode:
        pytest.skip("mounting needs privileges that this process lacks")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)
