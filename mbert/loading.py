"""Load a bundle; export a checkpoint to one first."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import __version__
from .errors import BackendError, ExportError, InputError
from .runtime.cache import cache_folder
from .runtime.loading import check_options
from .runtime.loading import load as load_bundle
from .runtime.manifest import MANIFEST

if TYPE_CHECKING:
    from .runtime import Model

_log = logging.getLogger("mbert")

# "organisation/name"; "./name" and "../name" are folders.
_HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")


def load(
    path: str | os.PathLike[str],
    *,
    task: str | None = None,
    precision: str = "auto",
    revision: str | None = None,
    threads: int | None = None,
    device: str | None = None,
    overflow: str | None = None,
    kernels: bool = True,
) -> Model:
    """Load a bundle, or export a checkpoint for this machine's CPU once and load that.

    A checkpoint is exported into the user's cache (``$MBERT_CACHE``, else ``~/.cache/mbert``) the
    first time, which a log message says; it needs ``pip install 'mbert[export]'``.

    Args:
        path: a bundle's folder; or a checkpoint's folder or Hugging Face hub id.
        task: of a checkpoint only: as for :func:`mbert.convert`.
        precision: of a checkpoint only: as for :func:`mbert.convert`.
        revision: of a hub id only: branch, tag or commit.
        threads: threads of one call of the graph; None: one for each core that this process may
            use, a container's quota included.
        device: "cpu"; for a bundle also "cuda" or "cuda:1"; None: the bundle's target.
        overflow: default of every call for texts that are too long: "error", "truncate" or
            "window"; None: the task's default.
        kernels: run mbert's kernels. False runs the standard operators that the bundle carries for
            each of them: slower, for debugging.

    Returns:
        The model of the bundle's task, such as an :class:`mbert.Embedder`. Load with the class
        (``mbert.Embedder.load(bundle)``) for a precise static type.

    Raises:
        BundleError: not a bundle, a newer format, or files that changed since the export.
        CheckpointError, ExportError: the checkpoint cannot be exported.
        BackendError: the backend or the GPU is missing or refuses the bundle.
        InputError: an invalid option.
    """
    options: dict[str, Any] = {
        "threads": threads,
        "device": device,
        "overflow": overflow,
        "kernels": kernels,
    }
    if not _is_checkpoint(path):
        defaults = {"task": None, "precision": "auto", "revision": None}
        for name, value in (("task", task), ("precision", precision), ("revision", revision)):
            if value != defaults[name]:
                raise InputError(
                    f"{name} is {value!r}, an option of checkpoints; {path} is a bundle."
                )
        return load_bundle(path, **options)
    # Before an export that takes minutes.
    check_options(threads, overflow)
    if device not in (None, "cpu"):
        raise InputError(
            f"device is {device!r}; a checkpoint is exported for this machine's CPU. For a GPU "
            "export it with `mbert-export --gpu`, and load the bundle."
        )
    return load_bundle(_exported(path, task, precision, revision), **options)


def _is_checkpoint(path: str | os.PathLike[str]) -> bool:
    """Tell a checkpoint's folder, or a hub id, from a bundle."""
    folder = Path(path)
    if folder.exists():
        return not (folder / MANIFEST).exists() and (folder / "config.json").exists()
    return isinstance(path, str) and _HUB_ID.fullmatch(path) is not None


def _exported(
    path: str | os.PathLike[str], task: str | None, precision: str, revision: str | None
) -> Path:
    """Return the cached bundle of a checkpoint, exported now if missing."""
    try:
        from .export import convert
        from .export.checkpoint.folder import open_checkpoint
    except ModuleNotFoundError as error:
        found = "a checkpoint" if Path(path).exists() else "not a folder here; it may be a hub id"
        raise BackendError(
            f"{os.fspath(path)} is {found}. Exporting a checkpoint needs {error.name}: install it "
            "with `pip install 'mbert[export]'`, or load a bundle."
        ) from error
    cache = cache_folder()
    if cache is None:
        raise BackendError(
            f"{os.fspath(path)} is a checkpoint, but this user has no cache folder to export it "
            "into. Set MBERT_CACHE, or export it with mbert-export and load the bundle."
        )
    # An export that is cached needs no weights.
    checkpoint = open_checkpoint(os.fspath(path), revision, weights=False)
    key: list[Any] = [__version__, task, precision, checkpoint.revision]
    if checkpoint.revision is not None:
        key.append(checkpoint.source)
    else:
        # However the folder is written: relative or absolute.
        folder = checkpoint.folder.resolve()
        key += [_stamp(file) for file in sorted(folder.rglob("*")) if file.is_file()]
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:20]
    bundle = cache / "bundles" / f"{Path(path).resolve().name}-{digest}"
    if (bundle / MANIFEST).exists():
        return bundle
    _log.warning("Exporting %s to %s: this happens once, and takes a while.", path, bundle)
    try:
        bundle.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BackendError(
            f"{bundle.parent} cannot be made: {error.strerror}. Set MBERT_CACHE to a folder that "
            "you may write, or export with mbert-export and load the bundle."
        ) from error
    try:
        convert(
            path,
            bundle,
            task=task,
            precision=precision,
            revision=checkpoint.revision or revision,
        )
    except ExportError:
        # Another process may have written the same bundle meanwhile.
        if not (bundle / MANIFEST).exists():
            raise
    return bundle


def _stamp(file: Path) -> tuple[str, int, int]:
    status = file.stat()
    return str(file), status.st_size, status.st_mtime_ns
