"""Open a checkpoint: a folder, or a Hugging Face hub id that is downloaded."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from huggingface_hub import snapshot_download

from mbert.errors import CheckpointError
from mbert.model.families.modernbert_config import ModelConfig

from .config_json import read_config
from .modules_json import ModuleSpec, read_modules
from .pylate import is_pylate, translate

DEFAULT_CHECKPOINT = "answerdotai/ModernBERT-base"

# PEFT saves it beside weights that are added to the model's.
_ADAPTER = "adapter_config.json"
_HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
# The stars match the folders that modules.json lists.
_HUB_FILES = [
    "config.json",
    "*/config.json",
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
_HUB_WEIGHTS = ["*.safetensors", "model.safetensors.index.json"]


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on this machine.

    Attributes:
        source: the hub id, or the folder's name.
        folder: where the files are.
        config: of the encoder.
        revision: commit of a hub id; None for a folder.
    """

    source: str
    folder: Path
    config: ModelConfig
    revision: str | None

    @cached_property
    def modules(self) -> tuple[ModuleSpec, ...]:
        """The modules that modules.json lists, the encoder first; empty without that file.

        Raises:
            CheckpointError: the file is malformed.
        """
        modules = read_modules(self.folder)
        return translate(self.folder, modules) if is_pylate(self.folder, modules) else modules


def open_checkpoint(
    source: str | Path, revision: str | None = None, weights: bool = True
) -> Checkpoint:
    """Find or download a checkpoint and read its config.

    Args:
        source: a folder with config.json and safetensors, or a Hugging Face hub id.
        revision: branch, tag or commit of a hub id.
        weights: download the weights of a hub id, too.

    Raises:
        CheckpointError: no such checkpoint, a revision of a folder, the download failed, or the
            model is not supported.
    """
    folder = Path(source)
    commit = None
    if folder.is_dir():
        if revision is not None:
            raise CheckpointError(
                f"revision is {revision!r}, an option of hub ids; {source} is a folder here."
            )
        name = folder.resolve().name
    elif not folder.exists() and _HUB_ID.fullmatch(str(source)):
        name = str(source)
        folder = _fetch(name, revision, weights)
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
            "the merged model."
        )
    return Checkpoint(name, folder, read_config(folder), commit)


def _fetch(hub_id: str, revision: str | None, weights: bool) -> Path:
    patterns = _HUB_FILES + _HUB_WEIGHTS if weights else _HUB_FILES
    try:
        return Path(snapshot_download(hub_id, revision=revision, allow_patterns=patterns))
    except Exception as error:  # the hub's client raises errors of several libraries
        reason = str(error).strip().splitlines()
        raise CheckpointError(
            f"{hub_id} is not a folder here, and fetching it from the Hugging Face hub failed "
            f"({type(error).__name__}: {reason[0] if reason else 'no reason given'}). Without a "
            "network, pass a local folder that holds config.json, tokenizer.json and "
            "model.safetensors."
        ) from error
