"""Writing a bundle: whole, or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mbert.errors import ExportError
from mbert.runtime.bundle import file_sha256
from mbert.runtime.manifest import FileEntry

# What goes along from the checkpoint, where it has it.
CHECKPOINT_FILES = ("config.json", "tokenizer.json", "README.md")


def check_destination(output: Path, force: bool) -> None:
    """Refuse early what could not be written at the end.

    Raises:
        ExportError: it exists and ``force`` is not set, it is no bundle that could be replaced, or
            its parent cannot be written.
    """
    if output.exists() or output.is_symlink():
        if not force:
            raise ExportError(f"{output} exists. Choose another output, or pass --force.")
        if output.is_symlink() or not output.is_dir():
            raise ExportError(f"{output} exists and is no folder; --force replaces bundles only.")
        if any(output.iterdir()) and not (output / "manifest.json").exists():
            raise ExportError(
                f"{output} exists and is not a bundle; --force replaces bundles only."
            )
    parent = output.absolute().parent
    if not parent.is_dir():
        raise ExportError(f"{parent} is not a folder. Make it first.")
    if not os.access(parent, os.W_OK):
        raise ExportError(f"{parent} is not writable. Choose another output.")


@contextmanager
def bundle_folder(output: Path) -> Iterator[Path]:
    """Give a temporary folder beside ``output`` that becomes ``output`` on success.

    On any failure, an interrupt included, nothing stays behind and an older bundle is untouched.

    Raises:
        ExportError: the disk is full, or any other error of the file system.
    """
    parent = output.absolute().parent
    try:
        temporary = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=parent))
    except OSError as error:
        raise ExportError(f"{parent} cannot be written: {error.strerror}.") from error
    try:
        yield temporary
        _publish(temporary, output)
    except OSError as error:
        raise ExportError(_explain(error, output)) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def copy_checkpoint_files(checkpoint: Path, folder: Path) -> None:
    """Copy tokenizer, config and model card, as the checkpoint has them."""
    for name in CHECKPOINT_FILES:
        if (checkpoint / name).exists():
            shutil.copyfile(checkpoint / name, folder / name)


def list_files(folder: Path) -> dict[str, FileEntry]:
    """Size and hash of every file in ``folder``, by relative name."""
    return {
        str(path.relative_to(folder)): FileEntry(path.stat().st_size, file_sha256(path))
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _publish(temporary: Path, output: Path) -> None:
    temporary.chmod(0o777 & ~_umask())  # mkdtemp makes it private
    for path in temporary.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())  # a rename must not outlive the contents
    if not output.exists():
        os.replace(temporary, output)
        return
    replaced = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.absolute().parent))
    try:
        os.replace(output, replaced)
        os.replace(temporary, output)
    except BaseException:
        if not output.exists():
            os.replace(replaced, output)
        raise
    finally:
        shutil.rmtree(replaced, ignore_errors=True)


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
