"""Open a bundle; check every file before use."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mbert.errors import BundleError

from .cache import cache_folder
from .manifest import MANIFEST, FileEntry, Manifest
from .manifest_reader import read_manifest
from .onnx_names import external_files

MODEL = "model.onnx"
MODEL_DATA = "model.onnx.data"
TOKENIZER = "tokenizer.json"


@dataclass(frozen=True)
class Bundle:
    """A bundle folder whose files match its manifest."""

    folder: Path
    manifest: Manifest

    @property
    def model(self) -> Path:
        """The ONNX model."""
        return self.folder / MODEL

    @property
    def tokenizer(self) -> Path | None:
        """The checkpoint's ``tokenizer.json``, if it has one."""
        return self.folder / TOKENIZER if TOKENIZER in self.manifest.files else None


def open_bundle(path: str | os.PathLike[str]) -> Bundle:
    """Read the manifest and check the files: sizes always, hashes once.

    A stamp in the user's cache records that the hashes of these files (by size, inode and time of
    change) were right.

    Raises:
        BundleError: not a bundle, a newer format, or files that changed since the export.
    """
    # Resolve once: a link that changes meanwhile must not mix two bundles.
    root = Path(path).resolve()
    manifest = read_manifest(root)
    if MODEL not in manifest.files:
        raise BundleError(f"{root / MANIFEST} lists no {MODEL}. Export again.")
    for name, entry in manifest.files.items():
        _check_size(root, name, entry)
    cache = cache_folder()
    stamp = cache / "checked" / _fingerprint(root, manifest) if cache else None
    if stamp is None or not os.path.exists(stamp):  # False if the cache cannot exist
        for name, entry in manifest.files.items():
            _check_hash(root / name, entry)
        _check_external_data(root / MODEL, manifest)
        if stamp is not None:
            _write_stamp(stamp)
    return Bundle(root, manifest)


def file_sha256(path: Path) -> str:
    """Hash a file without holding it in memory."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _check_size(root: Path, name: str, entry: FileEntry) -> None:
    path = root / name
    try:
        status = path.stat()
    except OSError as error:
        raise BundleError(
            f"{path} is missing ({error.strerror}). The bundle is incomplete: copy it again."
        ) from error
    if not stat.S_ISREG(status.st_mode):
        raise BundleError(f"{path} is not a file. The bundle is damaged: copy it again.")
    if not path.resolve().is_relative_to(root):
        raise BundleError(f"{path} is a link that leaves the bundle. Copy the file itself.")
    if status.st_size != entry.size:
        raise BundleError(
            f"{path} is {status.st_size} bytes, the manifest says {entry.size}. It was cut "
            "short or changed: copy the bundle again."
        )


def _check_hash(path: Path, entry: FileEntry) -> None:
    try:
        found = file_sha256(path)
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}.") from error
    if found != entry.sha256:
        raise BundleError(
            f"{path} has changed since it was exported: sha256 is {found}, the manifest says "
            f"{entry.sha256}. Copy the bundle again, or export again."
        )


def _check_external_data(model: Path, manifest: Manifest) -> None:
    """Raise if the model reads weights from a file that was not checked."""
    try:
        # As paths, "./x" and "x" are the same; ".." stays.
        named = {str(PurePosixPath(name)) for name in external_files(model.read_bytes())}
    except ValueError as error:
        raise BundleError(f"{model} is not an ONNX model: {error}. Export again.") from error
    for name in sorted(named - set(manifest.files)):
        raise BundleError(
            f"{model} keeps weights in {name!r}, which is not a file of the bundle. Export again."
        )


def _fingerprint(root: Path, manifest: Manifest) -> str:
    """Identify this set of files; any write to one of them changes the result."""
    digest = hashlib.sha256(str(root).encode())
    digest.update((root / MANIFEST).read_bytes())
    for name in manifest.files:
        status = (root / name).stat()
        digest.update(f"{name} {status.st_ino} {status.st_mtime_ns} {status.st_ctime_ns}".encode())
    return digest.hexdigest()


def _write_stamp(stamp: Path) -> None:
    # A read-only home only means hashing again next time.
    with contextlib.suppress(OSError):
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.touch()
