"""Read ``manifest.json`` and check everything that later code relies on."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import fields
from pathlib import Path
from typing import Any

from mbert.errors import BundleError
from mbert.plugins.operators import OPERATORS

from .checks import natural
from .manifest import (
    BACKENDS,
    FORMAT_VERSION,
    HARDWARE_COMPATIBILITY,
    MANIFEST,
    PRECISIONS,
    Engine,
    FileEntry,
    Limits,
    Manifest,
    Profile,
    TensorSpec,
    symbols_of,
)
from .tasks import TASKS

_SINCE_FORMAT_2 = ("engine", "calibration")
# By their key of the manifest. Optional keys within the format: older bundles lack them.
_SETTINGS = {key: cls for task in TASKS.values() for key, cls in task.settings.items()}


def read_manifest(bundle: Path) -> Manifest:
    """Read the manifest of the bundle folder ``bundle``.

    Raises:
        BundleError: no bundle there, a newer format, or a damaged manifest.
    """
    path = bundle / MANIFEST
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise BundleError(
            f"{bundle} is not a bundle: it has no {MANIFEST}. Make one with "
            "`mbert-export CHECKPOINT -o BUNDLE`."
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(f"{path} cannot be read as JSON: {error}. Export again.") from error
    found = raw.get("format_version") if isinstance(raw, dict) else None
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:
        raise BundleError(
            f"{path}: format_version is {found!r}; expected a positive integer. Export again."
        )
    if found > FORMAT_VERSION:
        raise BundleError(
            f"{bundle} has bundle format {found}, written by mbert "
            f"{raw.get('mbert_version', '(unknown version)')}; this version reads formats up to "
            f"{FORMAT_VERSION}. Update mbert, or export again with this version."
        )
    try:
        return _parse(raw)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BundleError(
            f"{path} is damaged ({type(error).__name__}: {error}). Export again."
        ) from error


def _parse(raw: dict[str, Any]) -> Manifest:
    # Unknown keys were added, within the format, by a later version: ignore them.
    if raw["format_version"] < 2:
        raw = {**raw, **dict.fromkeys(_SINCE_FORMAT_2)}
    raw = {**dict.fromkeys(_SETTINGS), **raw}
    values = {entry.name: raw[entry.name] for entry in fields(Manifest)}
    if raw["task"] not in TASKS:
        raise ValueError(f"task is {raw['task']!r}, expected one of {', '.join(TASKS)}")
    values["inputs"] = tuple(_tensor_spec(entry) for entry in raw["inputs"])
    values["outputs"] = tuple(_tensor_spec(entry) for entry in raw["outputs"])
    values["limits"] = _limits(raw["limits"])
    for key in ("vocab_size", "hidden_size"):
        natural(f"model.{key}", raw["model"][key], 1)
    for key, token_id in raw["special_tokens"].items():
        natural(f"special_tokens.{key}", token_id, 0)
    for key, known in (("backend", BACKENDS), ("precision", PRECISIONS)):
        if raw[key] not in known:
            raise ValueError(f"{key} is {raw[key]!r}, expected one of {', '.join(known)}")
    values["files"] = {name: FileEntry(**entry) for name, entry in raw["files"].items()}
    _check_names(values["files"])
    if raw["engine"] is not None:
        values["engine"] = _engine(raw["engine"], values["inputs"], raw["files"])
    if raw["labels"] is not None:
        values["labels"] = tuple(str(label) for label in raw["labels"])
    for name, version in raw["operators"].items():
        operator = OPERATORS.get(name)
        if operator is None or operator.version != version:
            raise ValueError(f"operator {name} has version {version}, which mbert does not compute")
    _parse_task(values)
    return Manifest(**values)


def _parse_task(values: dict[str, Any]) -> None:
    """Check the outputs of the task, and parse every task's settings in place."""
    task = TASKS[values["task"]]
    outputs = [(spec.name, *spec.shape[:1]) for spec in values["outputs"]]
    if outputs != list(task.outputs.items()):
        raise ValueError(f"outputs and their rows are {outputs}, expected {task.outputs}")
    for spec in values["outputs"]:
        for size in spec.shape[1:]:
            natural(f"a width of {spec.name}", size, 1)
    columns = values["outputs"][0].shape[-1]
    if task.labelled and len(values["labels"] or ()) != columns:
        raise ValueError(f"labels is {values['labels']!r}, expected {columns} names")
    if task.required is not None:
        if values[task.required] is None:
            raise ValueError(f"{task.required} is null")
        natural("the width of an embedding", columns, 1)
    for key, settings in _SETTINGS.items():
        if values[key] is not None:
            values[key] = settings.parse(
                values[key], values["model"]["vocab_size"], values["limits"]
            )


def _limits(entry: dict[str, Any]) -> Limits:
    for key, limit in entry.items():
        natural(f"limits.{key}", limit, 1)
    return Limits(**entry)


def _check_names(files: Collection[str]) -> None:
    """Raise unless every file name is relative and stays inside the bundle."""
    for name in files:
        parts = Path(name).parts
        if Path(name).is_absolute() or ".." in parts or not parts or "\0" in name:
            raise ValueError(f"file {name!r} lies outside the bundle")


def _engine(
    entry: dict[str, Any], inputs: tuple[TensorSpec, ...], files: Collection[str]
) -> Engine:
    symbols = symbols_of(inputs)
    profiles = tuple(
        Profile(str(profile["name"]), {key: _range(key, r) for key, r in profile["ranges"].items()})
        for profile in entry["profiles"]
    )
    if not profiles or any(set(profile.ranges) != symbols for profile in profiles):
        raise ValueError(f"engine.profiles lack a symbol of the inputs, {sorted(symbols)}")
    natural("engine.tokens_multiple", entry["tokens_multiple"], 1)
    if not re.fullmatch(r"\d+\.\d", entry["compute_capability"]):
        raise ValueError(f"engine.compute_capability is {entry['compute_capability']!r}")
    if entry["hardware_compatibility"] not in HARDWARE_COMPATIBILITY:
        raise ValueError(f"engine.hardware_compatibility is {entry['hardware_compatibility']!r}")
    if entry["file"] is not None and entry["file"] not in files:
        raise ValueError(f"engine.file is {entry['file']!r}, which is not one of the files")
    plain = ("file", "compute_capability", "builder", "hardware_compatibility", "gpu")
    return Engine(
        **{key: entry[key] for key in plain},
        tokens_multiple=entry["tokens_multiple"],
        profiles=profiles,
        activation_bytes=tuple(map(int, entry["activation_bytes"])),
    )


def _range(symbol: str, values: list[int]) -> tuple[int, int, int]:
    least, best, most = values
    natural(f"range of {symbol}", least, 0)
    natural(f"range of {symbol}", best, least)
    natural(f"range of {symbol}", most, best)
    return least, best, most


def _tensor_spec(entry: dict[str, Any]) -> TensorSpec:
    return TensorSpec(entry["name"], entry["dtype"], tuple(entry["shape"]))
