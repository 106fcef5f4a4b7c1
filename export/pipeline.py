"""Export a checkpoint: plan it, then run the steps."""

from __future__ import annotations

import os
from pathlib import Path

from mbert.errors import ExportError
from mbert.runtime.manifest import Manifest

from . import steps
from .bundle import bundle_folder, check_destination
from .checkpoint import DEFAULT_CHECKPOINT, open_checkpoint
from .placement import Placement, choose_placement
from .plan import ExportPlan, make_plan
from .steps import Advance, ExportState, Progress, Reporter, Tell


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
            the CPU, on a GPU fp16 if the activations fit and else bf16.
        hardware_compatibility: of TensorRT's engine: "none", "same-compute-capability" or
            "ampere-plus" (any GPU of compute capability 8.0 or newer), which may cost speed.
        task: one of :data:`mbert.export.tasks.TASKS`; None: the one that the checkpoint was saved
            for.
        max_tokens: of one call; None: 16,384 on the CPU, 8,192 on a GPU, or one longest sequence.
        max_sequence_length: in tokens; None: what the checkpoint was trained for, or the length at
            which a sentence-transformers folder cuts texts.
        calibration: a file with one text a line, on which fp16 is checked for overflow, int8 finds
            its large channels, and bf16 and int8 on a CPU are verified; None: a built-in sample.
        revision: branch, tag or commit of a hub id.
        force: replace an existing bundle.
        progress: called with the name of each step; returns a context manager around it.
        tell: called with sentences about what was chosen, and why.
        advance: called while an engine is built, with the phase and the fraction that is done, 0
            to 1.

    Returns:
        The manifest of the bundle, its verification record included.

    Raises:
        CheckpointError: the checkpoint cannot be read or is not supported.
        ExportError: names, target or precision do not go together, the output cannot be written, or
            the verification failed; nothing is left behind.
        BackendError: the backend is not installed, or cannot build the engine; nothing is left
            behind.
    """
    reporter = Reporter(progress or Reporter.step, tell or Reporter.tell, advance)
    destination = Path(output)
    check_destination(destination, force)
    placement = choose_placement(gpu, backend, precision, hardware_compatibility)
    text = _calibration_text(calibration, placement)
    for reason in placement.reasons:
        reporter.tell(reason)
    with reporter.step("read the checkpoint"):
        source = open_checkpoint(os.fspath(checkpoint), revision)
        plan = make_plan(source, placement, task, max_tokens, max_sequence_length)
        state = ExportState(plan, source, reporter, text)
        steps.load(state)
    steps.calibrate(state)
    steps.compute_reference(state)
    with bundle_folder(destination, force) as folder:
        steps.write(state, folder)
        steps.verify_graph(state, folder)
        steps.build(state, folder)
        steps.run(state, folder)
        return steps.finish(state, folder)


def plan_export(
    checkpoint: str | os.PathLike[str] = DEFAULT_CHECKPOINT,
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
) -> ExportPlan:
    """Plan an export without weights, and write nothing; see :func:`convert`.

    Raises:
        CheckpointError: the checkpoint's config cannot be read or is not supported.
        ExportError: names, target, precision or limits do not go together.
        BackendError: the requested backend is not installed.
    """
    placement = choose_placement(gpu, backend, precision, hardware_compatibility)
    _calibration_text(calibration, placement)
    source = open_checkpoint(os.fspath(checkpoint), revision, weights=False)
    return make_plan(source, placement, task, max_tokens, max_sequence_length)


def _calibration_text(
    calibration: str | os.PathLike[str] | None, placement: Placement
) -> Path | None:
    if calibration is None:
        return None
    if not any(precision.calibrates for precision in placement.precisions):
        raise ExportError(
            "Calibration is for reduced precision. Name a GPU with --gpu, or use --precision int8 "
            "or bf16."
        )
    return Path(calibration)
