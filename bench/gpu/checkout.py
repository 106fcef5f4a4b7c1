"""The checkout whose sources are compiled and whose test cases are run."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

from mbert.errors import InputError

# Found in every checkout, and in no installed package.
_MARKS = ("plugins/cuda/varlen_attention.cu", "tests/support/cases.py", "bench/gpu/kernels.cu")


def find_checkout(given: Path | None) -> Path:
    """Find the repository.

    Args:
        given: the folder that the user names; None: the one that holds this file, or else the
            working directory.

    Raises:
        InputError: it holds no sources.
    """
    candidates = [given] if given else [Path(__file__).resolve().parents[2], Path.cwd()]
    for folder in candidates:
        if all((folder / mark).exists() for mark in _MARKS):
            return folder.resolve()
    raise InputError(
        f"No checkout of mbert in {' or '.join(str(folder) for folder in candidates)}: expected "
        f"{_MARKS[0]} there. Name its folder with --checkout."
    )


def support(checkout: Path, module: str) -> ModuleType:
    """Import a module of ``tests/support``: what every kernel is held to."""
    folder = str(checkout / "tests")
    if folder not in sys.path:
        sys.path.append(folder)
    return import_module(f"support.{module}")
