"""A cache of exports: equal bundles are made once in a session of tests."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import mbert
from mbert.export.pipeline import plan_export
from support.exports import contents


class ExportCache:
    """Bundles by the contents of their checkpoint and the plan of their export.

    Callers copy a bundle before they change it. A call while a part of the export is patched would
    leave its result to others: such tests call :func:`mbert.convert` instead.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._bundles: dict[str, Path] = {}
        self._contents: dict[Path, dict[str, tuple[str, int]]] = {}

    def __call__(
        self,
        checkpoint: Path,
        task: str | None = None,
        precision: str = "auto",
        *,
        gpu: str | None = None,
        max_tokens: int | None = None,
    ) -> Path:
        """Return the bundle of a checkpoint; see :func:`mbert.convert` for the arguments."""
        plan = plan_export(
            checkpoint, task=task, precision=precision, gpu=gpu, max_tokens=max_tokens
        )
        key = f"{_fingerprint(checkpoint)} {json.dumps(plan.to_dict())}"
        if key not in self._bundles:
            bundle = self._folder / str(len(self._bundles)) / "bundle"
            bundle.parent.mkdir()
            mbert.convert(
                checkpoint, bundle, task=task, precision=precision, gpu=gpu, max_tokens=max_tokens
            )
            self._bundles[key] = bundle
            self._contents[bundle] = contents(bundle)
        return self._bundles[key]

    def check_unchanged(self) -> None:
        """Fail if a test changed a shared bundle."""
        for bundle, expected in self._contents.items():
            assert contents(bundle) == expected, f"a test changed {bundle}"


def _fingerprint(folder: Path) -> str:
    """Return a hash of the names and contents of a folder's files."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest.update(f"{path.relative_to(folder)}\0{path.stat().st_size}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()
