"""The engine cache, for bundles whose engine is built at the first load."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path

from mbert.errors import BackendError

from ...bundle import Bundle, file_sha256
from ...cache import cache_folder
from ...manifest import MANIFEST, Engine

_log = logging.getLogger("mbert")


def engine_key(bundle: Bundle, engine: Engine, builder: str, gpu: str | None) -> str:
    """Hash everything that an engine depends on: the bundle, the builder and the GPU.

    Args:
        bundle: an opened bundle.
        engine: its manifest's entry.
        builder: library and version, "tensorrt-rtx 1.7.1.116".
        gpu: name of the GPU that it is built on; None if no GPU is needed.
    """
    parts = {
        "bundle": file_sha256(bundle.folder / MANIFEST),  # it contains the hash of each file
        "builder": builder,
        "compute capability": engine.compute_capability,
        "gpu": gpu,
        "profiles": [asdict(profile) for profile in engine.profiles],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def cached_engine(
    key: str, build: Callable[[Path], object], what: str, temporary: ExitStack
) -> Path:
    """Return the file of an engine; build it unless it is in the cache.

    One process builds while others wait. Without a cache folder that can be written, the engine is
    built into a folder that ``temporary`` removes.

    Args:
        key: see :func:`engine_key`.
        build: writes the engine to a path, whole or not at all.
        what: names the engine in messages.
        temporary: closed when the file is not needed any more.

    Raises:
        BackendError: raised by ``build``, or the lock cannot be opened.
    """
    folder = _folder()
    if folder is None:
        _log.warning(
            "There is no cache folder that can be written (MBERT_CACHE names one), so %s is built "
            "again at each load.",
            what,
        )
        folder = Path(temporary.enter_context(tempfile.TemporaryDirectory(prefix="mbert-")))
    path = folder / f"{key}.engine"
    if path.exists():
        return path
    with _locked(folder / f"{key}.lock", what):
        if not path.exists():  # another process may have built it meanwhile
            _log.warning(
                "Building %s. The larger the model, the longer it takes. The engine goes to %s.",
                what,
                path,
            )
            build(path)
            _log.info("Built %s.", what)
    return path


def runtime_cache_file(key: str) -> Path | None:
    """Return the file that keeps compiled kernels; None without a cache."""
    folder = _folder()
    return folder and folder / f"{key}.runtime"


def _folder() -> Path | None:
    cache = cache_folder()
    if cache is None:
        return None
    folder = cache / "engines"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return None
    return folder


@contextmanager
def _locked(path: Path, what: str) -> Iterator[None]:
    """Hold a lock that the system releases if the process dies."""
    try:
        file = path.open("a")
    except OSError as error:
        raise BackendError(f"The lock {path} cannot be opened: {error.strerror}.") from error
    with file:
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                _log.warning("Another process is building %s; waiting for it.", what)
                fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            # The file system has no locks: two may build, and each rename is atomic.
            _log.debug("no lock on %s: %s", path, error)
        yield
