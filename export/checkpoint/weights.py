"""Load safetensors weights: every tensor of a module, and no tensor that it does not have."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from mbert.errors import CheckpointError
from mbert.model.heads.prediction_heads import MaskedLM

SAFETENSORS = "model.safetensors"
# Parameters of a ModulePipeline, which are in the folders of its modules.
_PIPELINE_PREFIX = "pipeline."

_FLOAT_TYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_HEAD_PREFIXES = ("head.", "decoder.", "classifier.")


def load_encoder(model: nn.Module, folder: Path) -> None:
    """Load the weights in ``folder`` into the encoder of ``model`` and its head.

    Raises:
        CheckpointError: a weight file is missing or damaged; tensors are missing, unexpected or of
            the wrong shape (all are named).
    """
    wanted = _shapes(model)
    tied = isinstance(model, MaskedLM) and model.tie_weights
    if tied:
        del wanted["decoder.weight"]
    with _open_tensors(folder) as files:
        tensors = _Tensors(files, _encoder_names(files))
        # A model without a head may be loaded from a checkpoint with one.
        ignored: tuple[str, ...] = () if hasattr(model, "head") else _HEAD_PREFIXES
        if tied:  # a copy of the embedding, compared below
            ignored += ("decoder.weight",)
        state = _match(wanted, tensors, folder, ignored)
        if tied:
            embedding = state["model.embeddings.tok_embeddings.weight"]
            if "decoder.weight" in tensors.names and not torch.equal(
                tensors.read("decoder.weight"), embedding
            ):
                raise CheckpointError(
                    f"{folder}: tie_word_embeddings is true, but decoder.weight differs from the "
                    "embedding. Set tie_word_embeddings to false, or remove decoder.weight."
                )
            state["decoder.weight"] = embedding
    model.load_state_dict(state, assign=True, strict=False)
    if isinstance(model, MaskedLM) and tied:
        model.decoder.weight = model.get_parameter("model.embeddings.tok_embeddings.weight")


def load_module(module: nn.Module, folder: Path) -> None:
    """Load the weights in ``folder`` into ``module``, by the module's names.

    A module without parameters needs no file.

    Raises:
        CheckpointError: as :func:`load_encoder`.
    """
    wanted = _shapes(module)
    if not wanted:
        return
    with _open_tensors(folder) as files:
        state = _match(wanted, _Tensors(files, {name: name for name in files}), folder)
    module.load_state_dict(state, assign=True)


def _shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {
        name: tuple(parameter.shape)
        for name, parameter in module.named_parameters()
        if not name.startswith(_PIPELINE_PREFIX)
    }


def _encoder_names(stored: Mapping[str, Any]) -> dict[str, str]:
    """Return the stored name of each tensor by its name in the model."""
    # A bare encoder is saved without the `model.` prefix.
    bare = not any(name.startswith("model.") for name in stored)
    return {
        (f"model.{name}" if bare and not name.startswith(_HEAD_PREFIXES) else name): name
        for name in stored
    }


class _Tensors:
    """The tensors of a folder by name; each is read on demand."""

    def __init__(self, files: Mapping[str, Any], names: Mapping[str, str]) -> None:
        self._files = files
        self.names = names

    def shape(self, name: str) -> tuple[int, ...]:
        stored = self.names[name]
        return tuple(self._files[stored].get_slice(stored).get_shape())

    def read(self, name: str) -> Tensor:
        stored = self.names[name]
        try:
            tensor: Tensor = self._files[stored].get_tensor(stored)
        except SafetensorError as error:
            raise CheckpointError(f"Tensor {stored} cannot be read: {error}.") from error
        if tensor.dtype not in _FLOAT_TYPES:
            raise CheckpointError(
                f"Tensor {stored} is stored as {tensor.dtype}; expected float32, float16, "
                "bfloat16 or float64. Quantised checkpoints are not supported."
            )
        return tensor.to(torch.float32)


@contextmanager
def _open_tensors(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the open file of each tensor, by its stored name."""
    index = folder / f"{SAFETENSORS}.index.json"
    single = folder / SAFETENSORS
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
            raise CheckpointError(f"{folder} has neither {single.name} nor {index.name}.{hint}")
        yield files


def _open(stack: ExitStack, path: Path) -> Any:
    try:
        return stack.enter_context(safe_open(path, framework="pt"))
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} cannot be read as safetensors ({error}). It may be truncated or still a "
            "Git LFS pointer: fetch it again."
        ) from error


def _match(
    wanted: Mapping[str, tuple[int, ...]],
    tensors: _Tensors,
    folder: Path,
    ignored: tuple[str, ...] = (),
) -> dict[str, Tensor]:
    """Read the wanted tensors; raise if any is missing, unexpected or of the wrong shape.

    Stored names that begin with one of ``ignored`` may be present.
    """
    found = set(tensors.names)
    missing = sorted(set(wanted) - found)
    without_head = [name for name in missing if name.startswith(_HEAD_PREFIXES)]
    if without_head == ["decoder.bias"] and "classifier.weight" not in found:
        hint = " The config's decoder_bias may be wrong."
    elif without_head:
        hint = " The checkpoint was saved without this task's head: choose another task."
    else:
        hint = ""
    # An encoder with more layers than the config says would load, and give wrong results.
    unexpected = sorted(
        name
        for name in found - set(wanted)
        if not name.startswith(ignored) and not _is_derived(name)
    )
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
    return {name: tensors.read(name) for name in wanted}


def _is_derived(name: str) -> bool:
    """Return whether the name is that of a buffer that the config determines."""
    return name.endswith("rotary_emb.inv_freq") or name.endswith("position_ids")
