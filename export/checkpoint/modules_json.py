"""Read ``modules.json``: the modules of a sentence-transformers checkpoint, in order."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from mbert.errors import CheckpointError

from .json_files import read_json

MODULES = "modules.json"
TRANSFORMER = "Transformer"
# The transformer's class before SPLADE's pooling in older folders.
MLM_TRANSFORMER = f"MLM{TRANSFORMER}"
MASK = "MultiVectorMask"
SPLADE_POOLING = "SpladePooling"
# Modules that do nothing outside training.
IGNORED = ("Dropout",)

# Libraries whose classes are known by their last name, which they keep when they move within it.
_LIBRARIES = ("sentence_transformers",)


@dataclass(frozen=True)
class ModuleSpec:
    """One entry of modules.json.

    Attributes:
        kind: last name of the class ("Pooling"); the full dotted name if the class is not part of
            sentence-transformers.
        path: the module's folder within the checkpoint; "" is the checkpoint's folder.
        config: the file with the module's settings, within the checkpoint.
        settings: contents of that file; empty if it does not exist.
    """

    kind: str
    path: str
    config: str
    settings: Mapping[str, Any]

    def flag(self, key: str, default: bool) -> bool:
        """Return a setting that is true or false."""
        return bool(self._checked(key, default, bool, "true or false"))

    def number(self, key: str) -> int:
        """Return a required setting that is a positive integer."""
        value = self._checked(key, None, int, "a positive integer")
        if value < 1:
            raise self.unsuited(key, "a positive integer")
        return int(value)

    def text(self, key: str, default: str) -> str:
        """Return a setting that is a string; null stands for ``default``."""
        if self.settings.get(key) is None:
            return default
        return str(self._checked(key, default, str, "a string"))

    def need_one_of(self, key: str, allowed: Sequence[object]) -> None:
        """Raise if a setting is present, not null and not in ``allowed``."""
        if self.settings.get(key) not in (None, *allowed):
            raise self.unsuited(key, " or ".join(("nothing", *map(repr, allowed))))

    def need_only(self, known: Collection[str]) -> None:
        """Raise if a setting is not in ``known``: it could change the result."""
        for key in self.settings:
            if key not in known:
                raise CheckpointError(
                    f"{self.config}: {self.kind} has the setting {key}; mbert knows "
                    f"{', '.join(known) or 'none'}."
                )

    def unsuited(self, key: str, expected: str) -> CheckpointError:
        """Make the error for a setting with an unexpected value."""
        return CheckpointError(
            f"{self.config}: {key} of {self.kind} is {self.settings.get(key)!r}; expected "
            f"{expected}."
        )

    def _checked(self, key: str, default: object, kind: type, expected: str) -> Any:
        value = self.settings.get(key, default)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise self.unsuited(key, expected)
        return value


def read_modules(folder: Path) -> tuple[ModuleSpec, ...]:
    """Read the modules of a checkpoint, in the order in which they run.

    Returns:
        The transformer, then the others; empty if there is no modules.json.

    Raises:
        CheckpointError: a file cannot be read, an entry is malformed, a path leaves the folder, or
            the first module is not a transformer in the checkpoint's folder.
    """
    entries = read_json(folder / MODULES, list)
    if not (folder / MODULES).exists():
        return ()
    modules = tuple(_spec(folder, i, entry) for i, entry in enumerate(entries))
    if not modules or not modules[0].kind.endswith(TRANSFORMER) or modules[0].path:
        found = f"{modules[0].kind} in {modules[0].path!r}" if modules else "nothing"
        raise CheckpointError(
            f"{folder / MODULES} begins with {found}; expected a {TRANSFORMER} in the checkpoint's "
            "folder, path ''."
        )
    return modules


def _spec(folder: Path, index: int, entry: object) -> ModuleSpec:
    where = f"{folder / MODULES}: entry {index}"
    if not isinstance(entry, dict):
        raise CheckpointError(f"{where} is {entry!r}; expected an object with type and path.")
    for key in ("type", "path"):
        if not isinstance(entry.get(key), str):
            raise CheckpointError(f"{where}: {key} is {entry.get(key)!r}; expected a string.")
    path = PurePosixPath(entry["path"])
    # A lexical check: the files of the hub's cache are links out of the folder.
    if path.is_absolute() or ".." in path.parts or "\0" in entry["path"]:
        raise CheckpointError(f"{where}: path {entry['path']!r} leaves the checkpoint's folder.")
    name: str = entry["type"]
    library, _, _ = name.partition(".")
    kind = name.rpartition(".")[2] if library in _LIBRARIES else name
    inside = "" if path == PurePosixPath() else f"{path}/"
    config = f"{inside}{'sentence_bert_config' if kind.endswith(TRANSFORMER) else 'config'}.json"
    # The config.json of the checkpoint's folder is the encoder's.
    settings = {} if config == "config.json" else read_json(folder / config)
    return ModuleSpec(kind, inside.rstrip("/"), config, settings)
