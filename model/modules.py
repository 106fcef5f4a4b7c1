"""``modules.json``: the modules that a sentence-transformers folder runs one after the other."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from mbert.errors import CheckpointError

from .json_files import read_json

MODULES = "modules.json"
SETTINGS = "config_sentence_transformers.json"
TRANSFORMER = "Transformer"
# Of a pooling's output, by the newer and the older name.
WIDTH_KEYS = ("embedding_dimension", "word_embedding_dimension")

# Libraries whose classes are known by their last name, which stays when they move within it.
_LIBRARIES = ("sentence_transformers",)


@dataclass(frozen=True)
class ModuleSpec:
    """One entry of modules.json.

    Attributes:
        kind: the class's last name ("Pooling"); the whole dotted name where it is not
            sentence-transformers' own.
        path: its folder within the checkpoint; "" is the checkpoint's own.
        config: the file that holds its settings, within the checkpoint.
        settings: what is in that file; empty where there is none.
    """

    kind: str
    path: str
    config: str
    settings: Mapping[str, Any]

    def flag(self, key: str, default: bool) -> bool:
        """Read a setting that is true or false."""
        return bool(self._checked(key, default, bool, "true or false"))

    def number(self, key: str) -> int:
        """Read a setting that is an integer from 1 on, and has to be there."""
        value = self._checked(key, None, int, "an integer from 1 on")
        if value < 1:
            raise self.unsuited(key, "an integer from 1 on")
        return int(value)

    def text(self, key: str, default: str) -> str:
        """Read a setting that is a text; null stands for ``default``."""
        if self.settings.get(key) is None:
            return default
        return str(self._checked(key, default, str, "a text"))

    def need_one_of(self, key: str, plain: Sequence[object]) -> None:
        """Refuse a setting that is there, not null, and none of ``plain``."""
        if self.settings.get(key) not in (None, *plain):
            raise self.unsuited(key, " or ".join(("nothing", *map(repr, plain))))

    def need_only(self, known: Collection[str]) -> None:
        """Refuse settings that would change the result in a way that is not known."""
        for key in self.settings:
            if key not in known:
                raise CheckpointError(
                    f"{self.config}: {self.kind} has the setting {key}; mbert knows "
                    f"{', '.join(known) or 'none'}."
                )

    def unsuited(self, key: str, expected: str) -> CheckpointError:
        """Say that a setting is not what is expected."""
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
        Nothing where there is no modules.json; else the transformer first.

    Raises:
        CheckpointError: a file that cannot be read, an entry that is none, a path that leaves the
            folder, or a first module that is no transformer in the folder itself.
    """
    entries = read_json(folder / MODULES, list)
    if not (folder / MODULES).exists():
        return ()
    modules = tuple(_spec(folder, i, entry) for i, entry in enumerate(entries))
    if not modules or not modules[0].kind.endswith(TRANSFORMER) or modules[0].path:
        found = f"{modules[0].kind} in {modules[0].path!r}" if modules else "nothing"
        raise CheckpointError(
            f"{folder / MODULES} begins with {found}; expected a {TRANSFORMER} in the checkpoint's "
            "own folder, path ''."
        )
    return modules


def _spec(folder: Path, index: int, entry: object) -> ModuleSpec:
    where = f"{folder / MODULES}: entry {index}"
    if not isinstance(entry, dict):
        raise CheckpointError(f"{where} is {entry!r}; expected an object with type and path.")
    for key in ("type", "path"):
        if not isinstance(entry.get(key), str):
            raise CheckpointError(f"{where}: {key} is {entry.get(key)!r}; expected a text.")
    path = PurePosixPath(entry["path"])
    # Lexically: the hub's cache keeps the files themselves elsewhere, behind links.
    if path.is_absolute() or ".." in path.parts or "\0" in entry["path"]:
        raise CheckpointError(f"{where}: path {entry['path']!r} leaves the checkpoint's folder.")
    name: str = entry["type"]
    library, _, _ = name.partition(".")
    kind = name.rpartition(".")[2] if library in _LIBRARIES else name
    inside = "" if path == PurePosixPath() else f"{path}/"
    config = f"{inside}{'sentence_bert_config' if kind.endswith(TRANSFORMER) else 'config'}.json"
    # The config.json of the folder itself is the encoder's.
    settings = {} if config == "config.json" else read_json(folder / config)
    return ModuleSpec(kind, inside.rstrip("/"), config, settings)
