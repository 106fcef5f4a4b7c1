"""Checkpoint to bundle: the steps of an export, in order."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from torch import nn

from mbert import __version__
from mbert.errors import ExportError
from mbert.model.families.modernbert_config import ModelConfig
from mbert.plugins import onnxruntime_library
from mbert.runtime.bundle import TOKENIZER
from mbert.runtime.manifest import (
    MANIFEST,
    Limits,
    Manifest,
)

from .bundle import bundle_folder, check_destination, copy_checkpoint_files, list_files
from .checkpoint import DEFAULT_CHECKPOINT, Checkpoint, open_checkpoint
from .checkpoint.model_card import license_of
from .checkpoint.special_tokens import special_token_ids
from .checkpoint.tokenizer import complete_tokenizer
from .choice import Choice, choose, choose_precision
from .engine import build, plan_engine
from .fuse import fuse, unfit_size
from .graph import write_graph
from .inputs import extra_inputs
from .precision import against_float16, calibrate, cast
from .reduce import REDUCED_ON_CPU, reduction
from .sample import Sample, read_sample
from .tasks import TASKS, Task, default_task, load_model
from .verify import (
    Reduce,
    Reference,
    awkward_batch,
    check_cosines,
    make_reference,
    run_in,
    run_on_gpu,
    verify,
)

# Called with the name of each step; the step runs inside what it returns.
Progress = Callable[[str], AbstractContextManager[object]]

# Told to the user while the export goes on.
Tell = Callable[[str], None]
Advance = Callable[[str, float], None]

# Tokens of one call of the graph at the most: a bound on memory, not a preference.
MAX_TOKENS = {"cpu": 16384, "gpu": 8192}


def convert(
    checkpoint: str | os.PathLike[str] = DEFAULT_CHECKPOINT,
    output: str | os.PathLike[str] = "bundle",
    *,
    gpu: str | None = None,
    backend: str = "auto",
    precision: str = "auto",
    hardware_compatibility: str = "none",
    task: str | None = None,
    max_tokens: int | None = None,
    max_sequence_length: int | None = None,
    calibration: str | os.PathLike[str] | None = None,
    revision: str | None = None,
    force: bool = False,
    progress: Progress | None = None,
    tell: Tell | None = None,
    advance: Advance | None = None,
) -> Manifest:
    """Export a checkpoint to a bundle for one target, and verify it.

    Args:
        checkpoint: a folder, or a Hugging Face hub id.
        output: the bundle folder to write; complete or absent afterwards.
        gpu: the name of a GPU (``mbert-export --list-gpus``); None: the CPU.
        backend: "onnxruntime", "tensorrt", "tensorrt-rtx", or "auto".
        precision: "fp32" or "bf16" anywhere, "int8" on the CPU, "fp16" on a GPU, or "auto": fp32 on
            the CPU, on a GPU fp16 where the activations fit and else bf16.
        hardware_compatibility: of TensorRT's engine: "none", "same-compute-capability" or
            "ampere-plus" (any GPU of compute capability 8.0 or newer), which may cost speed.
        task: one of :data:`mbert.export.tasks.TASKS`; None: what the checkpoint was saved for.
        max_tokens: of one call; None: 16,384 on the CPU, 8,192 on a GPU, or one longest sequence.
        max_sequence_length: in tokens; None: what the checkpoint was trained for, or where a
            sentence-transformers folder says that texts are cut.
        calibration: a file with one text a line, on which fp16 is checked for overflow, int8 finds
            its large channels, and bf16 and int8 on a CPU are verified; None: a built-in sample.
        revision: branch, tag or commit of a hub id.
        force: replace an existing bundle.
        progress: called with the name of each step; returns a context manager around it.
        tell: called with what was chosen, and why.
        advance: called while an engine is built, with what is being done and the part that is
            done, 0 to 1.

    Returns:
        The manifest of the bundle, its verification record included.

    Raises:
        CheckpointError: the checkpoint cannot be read or is not supported.
        ExportError: a name, target or precision that does not go together; the output cannot be
            written, or the verification failed; nothing is left.
        BackendError: the backend is not installed, or cannot build the engine; nothing is left.
    """
    step: Progress = progress or (lambda name: nullcontext())
    say: Tell = tell or (lambda text: None)
    destination = Path(output)
    check_destination(destination, force)
    choice = choose(gpu, backend, precision, hardware_compatibility)
    reduced = choice.target is not None or precision in REDUCED_ON_CPU
    if calibration is not None and not reduced:
        raise ExportError(
            "Calibration is for reduced precision. Name a GPU with --gpu, or use --precision int8 "
            "or bf16."
        )
    for reason in choice.reasons:
        say(reason)
    with step("read the checkpoint"):
        source = open_checkpoint(os.fspath(checkpoint), revision)
        chosen = task or default_task(source)
        if chosen not in TASKS:
            raise ExportError(f"The task is {chosen!r}; expected one of {', '.join(TASKS)}.")
        _check_head_dim(source.config.head_dim, choice)
        its_task = TASKS[chosen]
        limits = _limits(source, its_task, choice, max_tokens, max_sequence_length)
        token_ids = special_token_ids(source.folder, source.config.vocab_size)
        its_task.check(source)
        of_task = its_task.manifest_entries(source)
        onnxruntime_library()  # a missing library is found now, not after minutes
        model = load_model(source, chosen)
        _check_inputs(model, choice)
    record_of_calibration: dict[str, Any] | None = None
    settled = "fp32"
    reduce: Reduce | None = None
    text: Sample | None = None  # what a reduced precision on the CPU is verified on
    if reduced:
        with step("measure the activations"):
            sample = _sample(source, limits, calibration)
            if choice.target is None:
                settled, text = precision, sample
                reduce = reduction(model, source.config, precision, sample)
                record_of_calibration = {"text": sample.name, "tokens": sample.tokens}
            else:
                measured = calibrate(model, sample, source.config.vocab_size)
                record_of_calibration = measured.record()
                against = against_float16(measured, model)
                settled, why = choose_precision(precision, choice, against)
                if why is not None:
                    say(why)
    rounded_on_gpu = choice.target is not None and settled == "bf16"
    with step("run PyTorch"):
        inputs = awkward_batch(model, source.config, limits.max_sequence_length, text)
        # ONNX Runtime computes no bfloat16 on a CPU: a GPU's graph is verified in float32.
        judged_as = "fp32" if rounded_on_gpu else settled
        reference = make_reference(model, chosen, inputs, judged_as, reduce)
        if reduce is not None:
            check_cosines(reference)
    with bundle_folder(destination, force) as folder:
        with step("write the model"):
            fits = unfit_size(source.config) is None
            if choice.target is None and reduce is None and fits:
                fuse(model, source.config, settled)
            graph = write_graph(model, chosen, choice, folder)
            copy_checkpoint_files(source.folder, folder)
            complete_tokenizer(source.folder, folder / TOKENIZER, limits.max_sequence_length)
            of_task |= its_task.tokenizer_entries(
                source, folder / TOKENIZER, token_ids.get("mask"), limits
            )
            engine = plan_engine(choice, source.config, graph, limits)
        with step("verify"):
            record = verify(run_in(folder, choice.backend, graph, engine), reference)
        if rounded_on_gpu:
            with step("write the model in bfloat16"):
                record["bf16"] = _round_to_bfloat16(model, reference)
                graph = write_graph(model, chosen, choice, folder)
                reference = replace(
                    reference, precision="bf16", own_errors=record["bf16"]["pytorch_error"]
                )
        # Freed before an engine is built.
        del model
        if engine is not None and choice.builds_now:
            with step(f"build the engine with {choice.backend}"):
                engine = build(choice, engine, folder, len(source.config.layers), advance)
        manifest = Manifest(
            mbert_version=__version__,
            task=chosen,
            precision=settled,
            target=choice.name,
            backend=choice.backend,
            operators=graph.operators,
            model=shape_of(source.config),
            inputs=graph.inputs,
            outputs=graph.outputs,
            limits=limits,
            special_tokens=token_ids,
            source={
                "checkpoint": source.source,
                "revision": source.revision,
                "license": license_of(source.folder),
            },
            engine=engine,
            calibration=record_of_calibration,
            **of_task,
        )
        if choice.device is not None and (engine is None or engine.file is not None):
            with step("run it on the GPU"):
                record["gpu"] = verify(run_on_gpu(folder, manifest, choice.device), reference)
        with step("finish the bundle"):
            manifest = replace(manifest, verification=record, files=list_files(folder))
            (folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
    return manifest


def _sample(
    source: Checkpoint, limits: Limits, calibration: str | os.PathLike[str] | None
) -> Sample:
    tokenizer = source.folder / TOKENIZER
    text = Path(calibration) if calibration is not None else None
    found = tokenizer if tokenizer.exists() else None
    return read_sample(found, limits, source.config.vocab_size, text)


def _round_to_bfloat16(model: nn.Module, reference: Reference) -> dict[str, Any]:
    """Cast ``model``; what PyTorch errs in bfloat16 stands for the export, which was not run."""
    cast(model, "bf16")
    return {"pytorch_error": reference.errors(model), "verified_as": "fp32"}


def _check_head_dim(head_dim: int, choice: Choice) -> None:
    """Refuse what the backend's attention does not take (docs/operators.md)."""
    if choice.target is None:
        taken: Collection[int] = range(16, 257, 16)
        words = "multiples of 16 from 16 to 256"
    elif choice.backend == "tensorrt-rtx":
        taken, words = range(16, 129, 16), "multiples of 16 from 16 to 128"
    else:
        taken, words = (32, 64, 128), "32, 64 or 128"
    if head_dim not in taken:
        raise ExportError(
            f"The checkpoint's heads have {head_dim} channels (hidden_size / num_attention_heads); "
            f"attention on {choice.name} with {choice.backend} takes {words}."
        )


def shape_of(config: ModelConfig) -> dict[str, object]:
    """The manifest's ``model``."""
    shape = asdict(config)
    for key in ("id2label", "problem_type", "architectures"):
        del shape[key]
    # Lists, as they are read back.
    return {**shape, "layers": list(shape["layers"]), "head_dim": config.head_dim}


def _check_inputs(model: nn.Module, choice: Choice) -> None:
    """Refuse a graph that asks more of an engine than it is fed."""
    if "expansions" in extra_inputs(model) and choice.backend != "onnxruntime":
        raise ExportError(
            "The checkpoint expands queries with tokens that nothing attends to "
            f"(attend_to_expansion_tokens is false), which no engine of {choice.backend} is fed. "
            "Export with --backend onnxruntime, or for the CPU."
        )


def _limits(
    source: Checkpoint,
    task: Task,
    choice: Choice,
    max_tokens: int | None,
    max_sequence_length: int | None,
) -> Limits:
    for name, value in (("tokens", max_tokens), ("sequence length", max_sequence_length)):
        if value is not None and value < 1:
            raise ExportError(f"The largest number for {name} is {value}; expected at least 1.")
    trained = source.config.max_position_embeddings
    if max_sequence_length is not None and max_sequence_length > trained:
        raise ExportError(
            f"--max-sequence-length is {max_sequence_length}; the checkpoint takes up to {trained} "
            "tokens (max_position_embeddings)."
        )
    usual = task.longest_text(source)
    longest = max_sequence_length or min(usual, max_tokens or usual)
    default = MAX_TOKENS["gpu" if choice.target else "cpu"]
    tokens = max_tokens or max(default, longest)
    if tokens < longest:
        raise ExportError(
            f"--max-tokens is {tokens}, less than one sequence of {longest} tokens "
            "(--max-sequence-length)."
        )
    return Limits(max_tokens=tokens, max_sequence_length=longest, max_sequences=task.max_sequences)
