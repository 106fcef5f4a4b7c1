"""Checkpoint to bundle: the steps of an export, in order."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path

import onnx_ir as ir
from tokenizers import Tokenizer

from mbert import __version__
from mbert.errors import CheckpointError, ExportError
from mbert.model import DEFAULT_CHECKPOINT, TASKS, Checkpoint, ModelConfig, open_checkpoint
from mbert.model.metadata import license_of, pooling_of, special_tokens_of
from mbert.plugins import onnxruntime_library
from mbert.runtime.bundle import MODEL, MODEL_DATA, TOKENIZER
from mbert.runtime.manifest import MANIFEST, Limits, Manifest

from .bundle import bundle_folder, check_destination, copy_checkpoint_files, list_files
from .trace import operators_used, signature, trace
from .verify import make_reference, verify

# Called with the name of each step; the step runs inside what it returns.
Progress = Callable[[str], AbstractContextManager[object]]

# Tokens of one call of the graph at the most: a bound on memory, not a preference.
MAX_TOKENS = 16384
# Likewise: pooling by standard operators makes a matrix of sequences x tokens.
MAX_SEQUENCES = 2048


def convert(
    checkpoint: str | os.PathLike[str] = DEFAULT_CHECKPOINT,
    output: str | os.PathLike[str] = "bundle",
    *,
    task: str | None = None,
    revision: str | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Manifest:
    """Export a checkpoint to a bundle for the CPU, and verify it.

    Args:
        checkpoint: a folder, or a Hugging Face hub id.
        output: the bundle folder to write; complete or absent afterwards.
        task: feature-extraction, fill-mask or text-classification; None: what the checkpoint was
            saved for.
        revision: branch, tag or commit of a hub id.
        force: replace an existing bundle.
        progress: called with the name of each step; returns a context manager around it.

    Returns:
        The manifest of the bundle, its verification record included.

    Raises:
        CheckpointError: the checkpoint cannot be read or is not supported.
        ExportError: the output cannot be written, or the verification failed; nothing is left.
    """
    step: Progress = progress or (lambda name: nullcontext())
    destination = Path(output)
    check_destination(destination, force)
    with step("read the checkpoint"):
        source = open_checkpoint(os.fspath(checkpoint), revision)
        chosen = task or source.default_task
        if chosen not in TASKS:
            raise ExportError(f"The task is {chosen!r}; expected one of {', '.join(TASKS)}.")
        _check_head_dim(source.config.head_dim)
        onnxruntime_library()  # a missing library is found now, not after minutes
        model = source.load_model(chosen)
    config = source.config
    with step("trace to ONNX"):
        traced = trace(model, chosen)
    with bundle_folder(destination, force) as folder:
        with step("write the model"):
            ir.save(traced, folder / MODEL, external_data=MODEL_DATA)
            copy_checkpoint_files(source.folder, folder)
            manifest = Manifest(
                mbert_version=__version__,
                task=chosen,
                precision="fp32",
                target="cpu",
                backend="onnxruntime",
                operators=operators_used(traced),
                model=_shape(config),
                inputs=signature(traced.graph.inputs),
                outputs=signature(traced.graph.outputs),
                limits=_limits(config),
                pooling=pooling_of(source.folder) if chosen == "feature-extraction" else None,
                labels=config.id2label if chosen == "text-classification" else None,
                problem_type=config.problem_type if chosen == "text-classification" else None,
                special_tokens=_special_tokens(source),
                source={
                    "checkpoint": source.source,
                    "revision": source.revision,
                    "license": license_of(source.folder),
                },
            )
        with step("run PyTorch in float32 and float64"):
            reference = make_reference(
                model,
                chosen,
                config.vocab_size,
                config.max_position_embeddings,
                max(layer.window for layer in config.layers),
            )
        # Freed before two sessions are opened: a base-size model in float64 is over 1 GB.
        del model, traced
        with step("verify with the kernels and with the functions"):
            record = verify(folder / MODEL, reference)
        with step("finish the bundle"):
            manifest = replace(manifest, files=list_files(folder), verification=record)
            (folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
    return manifest


def _check_head_dim(head_dim: int) -> None:
    """Refuse what the attention kernels do not take (docs/operators.md)."""
    if head_dim % 16 or not 16 <= head_dim <= 256:
        raise ExportError(
            f"The checkpoint's heads have {head_dim} channels (hidden_size / num_attention_heads); "
            "mbert's attention takes multiples of 16 from 16 to 256."
        )


def _shape(config: ModelConfig) -> dict[str, object]:
    shape = asdict(config)
    for key in ("id2label", "problem_type", "architectures"):
        del shape[key]
    # Lists, as they are read back.
    return {**shape, "layers": list(shape["layers"]), "head_dim": config.head_dim}


def _limits(config: ModelConfig) -> Limits:
    max_tokens = max(MAX_TOKENS, config.max_position_embeddings)
    return Limits(
        max_tokens=max_tokens,
        max_sequence_length=config.max_position_embeddings,
        max_sequences=MAX_SEQUENCES,
    )


def _special_tokens(source: Checkpoint) -> dict[str, int]:
    """Ids of cls, sep, pad and mask, as far as the tokenizer's own files name them."""
    path = source.folder / TOKENIZER
    if not path.exists():
        return {}
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the binding raises plain Exception
        raise CheckpointError(f"{path} is not a tokenizer: {error}.") from error
    found = {}
    for role, token in special_tokens_of(source.folder).items():
        token_id = tokenizer.token_to_id(token)
        if token_id is None:
            raise CheckpointError(f"{path} has no token {token!r}, the {role} token.")
        if token_id >= source.config.vocab_size:
            raise CheckpointError(
                f"{path}: {token!r} is token {token_id}, the vocabulary has "
                f"{source.config.vocab_size}. Tokenizer and weights do not belong together."
            )
        found[role] = token_id
    return found
