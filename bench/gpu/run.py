"""Run the GPU bench from a checkout; mbert need not be installed."""

import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]


def _package(name: str, *folders: Path) -> None:
    """Register an empty package, as ``__init__`` would import other packages."""
    package = ModuleType(name)
    package.__path__ = [str(folder) for folder in folders]
    sys.modules[name] = package


def bootstrap() -> None:
    """Make ``mbert.x`` importable from the folders of the checkout."""
    _package("mbert", ROOT / "mbert", ROOT)
    for part in ("export", "model", "plugins", "runtime"):
        _package(f"mbert.{part}", ROOT / part)


if __name__ == "__main__":
    # This script's folder: its modules belong to mbert.bench.gpu.
    sys.path.pop(0)
    bootstrap()
    from mbert.bench.gpu.cli import main

    main()
