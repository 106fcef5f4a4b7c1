"""Checkpoints: a folder or a Hugging Face hub id, its config and its safetensors."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from mbert.errors import CheckpointError

from .config import ModelConfig
from .heads import TASK_OF_ARCHITECTURE, TASKS, FillMask

DEFAULT_CHECKPOINT = "answerdotai/ModernBERT-base"

_HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
_HUB_FILES = [
    "config.json",
    "*.safetensors",
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "README.md",
    "modules.json",
    "*_Pooling/config.json",
]
_FLOAT_TYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_HEAD_PREFIXES = ("head.", "decoder.", "classifier.")


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

    @property
    def default_task(self) -> str:
        """The task of the class that the checkpoint was saved from.

        Raises:
            CheckpointError: ``architectures`` names no class whose task is supported.
        """
        for name in self.config.architectures:
            if name in TASK_OF_ARCHITECTURE:
                return TASK_OF_ARCHITECTURE[name]
        raise CheckpointError(
            f"config.json: architectures is {list(self.config.architectures)}; expected one of "
            f"{', '.join(TASK_OF_ARCHITECTURE)}. Name the task: {', '.join(TASKS)}."
        )

    def load_model(self, task: str) -> nn.Module:
        """Build the module of ``task`` with the checkpoint's weights, float32, in eval mode.

        Raises:
            CheckpointError: no such task; a weight file that is missing or damaged; a tensor that
                is missing, unexpected or of the wrong shape (all are named).
        """
        if task not in TASKS:
            raise CheckpointError(f"The task is {task!r}; expected one of {', '.join(TASKS)}.")
        # On the meta device: the parameters are replaced by the checkpoint's, never initialised.
        with torch.device("meta"):
            model = TASKS[task](self.config)
        with _open_tensors(self.folder) as tensors:
            state = _match(model, tensors, self.folder)
        model.load_state_dict(state, assign=True)
        if isinstance(model, FillMask) and model.tie_weights:
            model.decoder.weight = model.model.embeddings.tok_embeddings.weight
        return model.eval().requires_grad_(False)


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
    return Checkpoint(name, folder, ModelConfig.from_file(folder / "config.json"), commit)


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


class _Tensors:
    """All tensors of a checkpoint by name, read when asked for."""

    def __init__(self, files: dict[str, Any]) -> None:
        self._files = files
        names = list(files)
        # A bare encoder is saved without the `model.` prefix.
        bare = not any(name.startswith("model.") for name in names)
        self.stored_name = {
            (f"model.{name}" if bare and not name.startswith(_HEAD_PREFIXES) else name): name
            for name in names
        }

    def shape(self, name: str) -> tuple[int, ...]:
        stored = self.stored_name[name]
        return tuple(self._files[stored].get_slice(stored).get_shape())

    def read(self, name: str) -> Tensor:
        stored = self.stored_name[name]
        tensor: Tensor = self._files[stored].get_tensor(stored)
        if tensor.dtype not in _FLOAT_TYPES:
            raise CheckpointError(
                f"Tensor {stored} is stored as {tensor.dtype}; expected float32, float16, "
                "bfloat16 or float64. Quantised checkpoints are not supported."
            )
        return tensor.to(torch.float32)


@contextmanager
def _open_tensors(folder: Path) -> Iterator[_Tensors]:
    index = folder / "model.safetensors.index.json"
    single = folder / "model.safetensors"
    with ExitStack() as stack:
        files: dict[str, Any] = {}
        if single.exists():
            handle = _open(stack, single)
            files = dict.fromkeys(handle.keys(), handle)
        elif index.exists():
            try:
                weight_map = dict(json.loads(index.read_text(encoding="utf-8"))["weight_map"])
            except (ValueError, KeyError, TypeError) as error:
                raise CheckpointError(f"{index} is not a safetensors index: {error}.") from error
            for shard in sorted(set(weight_map.values()), key=str):
                if not isinstance(shard, str) or Path(shard).name != shard:
                    raise CheckpointError(f"{index} names {shard!r}; expected a file beside it.")
                handle = _open(stack, folder / shard)
                stored = set(handle.keys())
                for name in (n for n, s in weight_map.items() if s == shard):
                    if name not in stored:
                        raise CheckpointError(f"{index} places {name} in {shard}, which lacks it.")
                    files[name] = handle
        else:
            other = sorted(p.name for p in folder.glob("pytorch_model*.bin"))
            hint = (
                f" It has {other[0]}, which only unpickling could read: convert it to safetensors."
                if other
                else ""
            )
            raise CheckpointError(
                f"{folder} has neither model.safetensors nor model.safetensors.index.json.{hint}"
            )
        yield _Tensors(files)


def _open(stack: ExitStack, path: Path) -> Any:
    try:
        return stack.enter_context(safe_open(path, framework="pt"))
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} cannot be read as safetensors ({error}). It may be truncated or still a "
            "Git LFS pointer: fetch it again."
        ) from error


def _match(model: nn.Module, tensors: _Tensors, folder: Path) -> dict[str, Tensor]:
    """Read what ``model`` needs; name every tensor that is missing, unexpected or mis-shaped."""
    wanted = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    tied = isinstance(model, FillMask) and model.tie_weights
    if tied:
        del wanted["decoder.weight"]
    found = set(tensors.stored_name)
    missing = sorted(set(wanted) - found)
    without_head = [name for name in missing if name.startswith(_HEAD_PREFIXES)]
    if without_head == ["decoder.bias"] and "classifier.weight" not in found:
        hint = " The config's decoder_bias may be wrong."
    elif without_head:
        hint = " The checkpoint was saved without this task's head: choose another task."
    else:
        hint = ""
    # A bigger encoder than the config declares would run, and give wrong numbers. The head of
    # another task is no mistake where this task has none.
    has_head = hasattr(model, "head")
    unexpected = sorted(
        name
        for name in found - set(wanted)
        if (has_head or not name.startswith(_HEAD_PREFIXES)) and not _is_derived(name)
    )
    if tied and "decoder.weight" in unexpected:
        unexpected.remove("decoder.weight")  # a copy of the embedding, checked below
    wrong_shape = [
        f"{name} is {list(tensors.shape(name))}, expected {list(shape)}"
        for name, shape in wanted.items()
        if name in found and tensors.shape(name) != shape
    ]
    problems = [
        f"{kind}: {', '.join(names[:8])}{' ...' if len(names) > 8 else ''}"
        for kind, names in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("of the wrong shape", wrong_shape),
        )
        if names
    ]
    if problems:
        raise CheckpointError(
            f"The tensors of {folder} do not fit its config.json. "
            + "; ".join(problems)
            + "."
            + hint
        )
    try:
        state = {name: tensors.read(name) for name in wanted}
        if tied:
            embedding = state["model.embeddings.tok_embeddings.weight"]
            if "decoder.weight" in found and not torch.equal(
                tensors.read("decoder.weight"), embedding
            ):
                raise CheckpointError(
                    f"{folder}: tie_word_embeddings is true, but decoder.weight differs from the "
                    "embedding. Set tie_word_embeddings to false, or remove decoder.weight."
                )
            state["decoder.weight"] = embedding
    except SafetensorError as error:
        raise CheckpointError(f"The weights of {folder} cannot be read: {error}.") from error
    return state


def _is_derived(name: str) -> bool:
    """Buffers that old versions saved although they follow from the config."""
    return name.endswith("rotary_emb.inv_freq") or name.endswith("position_ids")
