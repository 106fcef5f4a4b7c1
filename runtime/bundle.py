"""Opening a bundle: every file is checked before anything of it is used."""

from __future__ import annotations

import contextlib
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from mbert.errors import BundleError

from .cache import cache_folder
from .manifest import MANIFEST, FileEntry, Manifest

MODEL = "model.onnx"
MODEL_DATA = "model.onnx.data"
TOKENIZER = "tokenizer.json"


@dataclass(frozen=True)
class Bundle:
    """A bundle folder whose files are those of its manifest."""

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

    A stamp in the user's cache remembers that the hashes of these very files (by size, inode and
    time of change) were right.

    Raises:
        BundleError: not a bundle, of a newer format, or not as it was exported.
    """
    folder = Path(path)
    manifest = Manifest.read(folder)
    if MODEL not in manifest.files:
        raise BundleError(f"{folder / MANIFEST} lists no {MODEL}. Export again.")
    root = folder.resolve()
    for name, entry in manifest.files.items():
        _check_size(root, name, entry)
    stamp = cache_folder() / "checked" / _fingerprint(root, manifest)
    if not stamp.exists():
        for name, entry in manifest.files.items():
            found = file_sha256(root / name)
            if found != entry.sha256:
                raise BundleError(
                    f"{root / name} has changed since it was exported: sha256 is {found}, the "
                    f"manifest says {entry.sha256}. Copy the bundle again, or export again."
                )
        _write_stamp(stamp)
    return Bundle(folder, manifest)


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
        size = path.stat().st_size
    except OSError as error:
        raise BundleError(
            f"{path} is missing ({error.strerror}). The bundle is incomplete: copy it again."
        ) from error
    if not path.resolve().is_relative_to(root):
        raise BundleError(f"{path} is a link that leaves the bundle. Copy the file itself.")
    if size != entry.size:
        raise BundleError(
            f"{path} is {size} bytes, the manifest says {entry.size}. It was cut short or "
            "changed: copy the bundle again."
        )


def _fingerprint(root: Path, manifest: Manifest) -> str:
    """Name this very set of files; any write to one of them changes it."""
    digest = hashlib.sha256(str(root).encode())
    digest.update((root / MANIFEST).read_bytes())
    for name in manifest.files:
        stat = (root / name).stat()
        digest.update(f"{name} {stat.st_ino} {stat.st_mtime_ns} {stat.st_ctime_ns}".encode())
    return digest.hexdigest()


def _write_stamp(stamp: Path) -> None:
    # A read-only home only means hashing again next time.
    with contextlib.suppress(OSError):
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.touch()
