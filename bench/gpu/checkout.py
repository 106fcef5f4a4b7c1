"""Find the checkout that the sources and the test cases come from."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

from mbert.errors import InputError

# Files of every checkout that no installed package has.
_MARKS = ("plugins/cuda/varlen_attention.cu", "tests/support/cases.py", "bench/gpu/kernels.cu")


def find_checkout(given: Path | None) -> Path:
    """Find the repository.

    Args:
        given: the folder that the user names; None: the one that holds this file, or else the
            working directory.

    Raises:
        InputError: the folder has no sources.
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
    """Import a module of ``tests/support``: cases and oracles."""
    folder = str(checkout / "tests")
    if folder not in sys.path:
        sys.path.append(folder)
    return import_module(f"support.{module}")
