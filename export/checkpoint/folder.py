"""Checkpoints: a folder or a Hugging Face hub id, its config and its modules."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from huggingface_hub import snapshot_download

from mbert.errors import CheckpointError
from mbert.model.families.modernbert_config import ModelConfig
from mbert.model.heads.module_spec import ModuleSpec

from .config_json import read_config
from .modules_json import read_modules
from .pylate import is_pylate, translated

DEFAULT_CHECKPOINT = "answerdotai/ModernBERT-base"

# PEFT's, whose weights belong on top of the others.
_ADAPTER = "adapter_config.json"
_HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
# A star also stands for the folders of modules.json.
_HUB_FILES = [
    "config.json",
    "*/config.json",
    "*.safetensors",
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "README.md",
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    _ADAPTER,
]


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that is on this machine.

    ``source`` is what the user named (a hub id or a folder's name), ``folder`` where its files are,
    ``revision`` the commit of a hub id (None for a folder).
    """

    source: str
    folder: Path
    config: ModelConfig
    revision: str | None

    @cached_property
    def modules(self) -> tuple[ModuleSpec, ...]:
        """What modules.json lists, the encoder first; nothing where there is no such file.

        Raises:
            CheckpointError: it makes no sense.
        """
        modules = read_modules(self.folder)
        return translated(self.folder, modules) if is_pylate(self.folder, modules) else modules


def open_checkpoint(source: str | Path, revision: str | None = None) -> Checkpoint:
    """Find a checkpoint and read its config.

    Args:
        source: a folder with config.json and safetensors, or a Hugging Face hub id.
        revision: branch, tag or commit of a hub id.

    Raises:
        CheckpointError: nothing there, nothing to be fetched, or not a supported model.
    """
    folder = Path(source)
    commit = None
    if folder.is_dir():
        name = folder.resolve().name
    elif not folder.exists() and _HUB_ID.fullmatch(str(source)):
        name = str(source)
        folder = _fetch(name, revision)
        commit = folder.name  # the hub's cache keeps a folder for each commit
    else:
        raise CheckpointError(
            f"{source} is neither a folder nor a Hugging Face hub id. Pass the folder that holds "
            "config.json and model.safetensors, or an id such as " + DEFAULT_CHECKPOINT + "."
        )
    if (folder / _ADAPTER).exists():
        raise CheckpointError(
            f"{name} holds {_ADAPTER}: its weights are changed by an adapter, which mbert does not "
            "load. Merge the adapter into the weights first (merge_and_unload of PEFT), and save "
            "the model that this gives."
        )
    return Checkpoint(name, folder, read_config(folder), commit)


def _fetch(hub_id: str, revision: str | None) -> Path:
    try:
        return Path(snapshot_download(hub_id, revision=revision, allow_patterns=_HUB_FILES))
    except Exception as error:  # the hub's client raises from several libraries when offline
        reason = str(error).strip().splitlines()
        raise CheckpointError(
            f"{hub_id} is not a folder here, and fetching it from the Hugging Face hub failed "
            f"({type(error).__name__}: {reason[0] if reason else 'no reason given'}). Without a "
            "network, pass a local folder that holds config.json, tokenizer.json and "
            "model.safetensors."
        ) from error
