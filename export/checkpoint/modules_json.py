"""``modules.json``: the modules that a sentence-transformers folder runs one after the other."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from mbert.errors import CheckpointError
from mbert.model.heads.module_spec import MODULES, TRANSFORMER, ModuleSpec

from .json_files import read_json

# Libraries whose classes are known by their last name, which stays when they move within it.
_LIBRARIES = ("sentence_transformers",)


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
