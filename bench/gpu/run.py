"""Run the GPU bench from a checkout of which nothing is installed."""

import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]


def _package(name: str, *folders: Path) -> None:
    """Stand in for a package whose ``__init__`` would import what is not needed here."""
    package = ModuleType(name)
    package.__path__ = [str(folder) for folder in folders]
    sys.modules[name] = package


def bootstrap() -> None:
    """Make ``mbert.x`` importable from the folders of the checkout."""
    _package("mbert", ROOT / "mbert", ROOT)
    for part in ("export", "model", "plugins", "runtime"):
        _package(f"mbert.{part}", ROOT / part)


if __name__ == "__main__":
    # The folder of this script: its modules are no top-level ones.
    sys.path.pop(0)
    bootstrap()
    from mbert.bench.gpu.cli import main

    main()
