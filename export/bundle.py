"""Write a bundle whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mbert.errors import CheckpointError, ExportError
from mbert.runtime.bundle import file_sha256
from mbert.runtime.manifest import MANIFEST, FileEntry

# Files that a bundle copies from the checkpoint, if they are there.
CHECKPOINT_FILES = ("config.json", "tokenizer.json", "README.md")


def check_destination(output: Path, force: bool) -> None:
    """Raise early if the bundle could not be written at the end.

    Raises:
        ExportError: ``output`` exists and ``force`` is not set or it is not a bundle, or its parent
            folder cannot be written.
    """
    if output.exists() or output.is_symlink():
        if not force:
            raise ExportError(f"{output} exists. Choose another output, or pass --force.")
        if output.is_symlink() or not output.is_dir():
            raise ExportError(f"{output} exists and is no folder; --force replaces bundles only.")
        if any(output.iterdir()) and not _is_bundle(output):
            raise ExportError(
                f"{output} exists and is not a bundle; --force replaces bundles only."
            )
    parent = output.absolute().parent
    if not parent.is_dir():
        raise ExportError(f"{parent} is not a folder. Make it first.")
    if not os.access(parent, os.W_OK):
        raise ExportError(f"{parent} is not writable. Choose another output.")


def _is_bundle(folder: Path) -> bool:
    """Return whether ``folder`` is a bundle of any format.

    Other programs have a manifest.json too.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(manifest, dict) and {"format_version", "mbert_version", "files"} <= set(
        manifest
    )


@contextmanager
def bundle_folder(output: Path, force: bool) -> Iterator[Path]:
    """Yield a temporary folder beside ``output`` that becomes ``output`` on success.

    On failure or interrupt nothing is left behind, and an older bundle stays untouched.

    Args:
        output: the bundle folder.
        force: replace an existing bundle; see :func:`check_destination`.

    Raises:
        ExportError: the disk is full, or the file system reports another error.
    """
    parent = output.absolute().parent
    try:
        temporary = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=parent))
    except OSError as error:
        raise ExportError(f"{parent} cannot be written: {error.strerror}.") from error
    try:
        yield temporary
        check_destination(output, force)  # again: minutes have passed
        _publish(temporary, output)
    except OSError as error:
        raise ExportError(_explain(error, output)) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def copy_checkpoint_files(checkpoint: Path, folder: Path) -> None:
    """Copy tokenizer, config and model card from the checkpoint.

    Raises:
        CheckpointError: one of the files exists and cannot be read.
    """
    for name in CHECKPOINT_FILES:
        source = checkpoint / name
        try:
            contents = source.read_bytes() if source.exists() else None
        except OSError as error:
            raise CheckpointError(f"{source} cannot be read: {error.strerror}.") from error
        if contents is not None:
            (folder / name).write_bytes(contents)


def list_files(folder: Path) -> dict[str, FileEntry]:
    """Return size and hash of every file in ``folder``, by relative name."""
    return {
        str(path.relative_to(folder)): FileEntry(path.stat().st_size, file_sha256(path))
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _publish(temporary: Path, output: Path) -> None:
    temporary.chmod(0o777 & ~_umask())  # mkdtemp makes it private
    parent = output.absolute().parent
    for path in (*temporary.rglob("*"), temporary):
        _sync(path)  # a rename must not outlive the contents
    if not output.exists():
        os.replace(temporary, output)
        _sync(parent)
        return
    replaced = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=parent))
    try:
        os.replace(output, replaced)
        os.replace(temporary, output)
    except BaseException:
        if not output.exists():
            os.replace(replaced, output)  # should this fail, the old bundle is still in `replaced`
        elif temporary.exists():
            replaced.rmdir()  # nothing has been moved yet
        else:
            shutil.rmtree(replaced, ignore_errors=True)
        raise
    shutil.rmtree(replaced, ignore_errors=True)
    _sync(parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    value = os.umask(0)
    os.umask(value)
    return value


def _explain(error: OSError, output: Path) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        free = shutil.disk_usage(output.absolute().parent).free
        return (
            f"No room to write {output} ({error.strerror}): {free / 1e6:.0f} MB are free beside "
            "it. Nothing was left behind; free some space, or choose another output."
        )
    return f"{output} cannot be written: {error}. Nothing was left behind."
