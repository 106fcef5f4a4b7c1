"""The steps of an export, in order: functions over an :class:`ExportState`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn

from mbert import __version__
from mbert.errors import ExportError
from mbert.plugins import onnxruntime_library
from mbert.runtime.bundle import TOKENIZER
from mbert.runtime.manifest import MANIFEST, Engine, Manifest

from .bundle import copy_checkpoint_files, list_files
from .checkpoint import Checkpoint
from .checkpoint.model_card import license_of
from .checkpoint.special_tokens import special_token_ids
from .checkpoint.tokenizer import complete_tokenizer
from .engine import build_engine, plan_engine
from .graph import Graph, write_graph
from .inputs import extra_inputs
from .plan import ExportPlan, shape_of
from .precisions import AUTO, Calibration, Precision, find_precision
from .precisions.calibration_data import read_sample
from .tasks import TASKS, load_model
from .verify.comparison import verify
from .verify.reference import Reference, check_direction, edge_case_batch, make_reference
from .verify.runtimes import gpu_runtime, local_runtimes

# Called with the name of each step; the step runs inside the context manager that it returns.
Progress = Callable[[str], AbstractContextManager[object]]
# Called with sentences for the user.
Tell = Callable[[str], None]
# Called while an engine is built, with the phase and the fraction that is done, 0 to 1.
Advance = Callable[[str, float], None]


@dataclass(frozen=True)
class Reporter:
    """The callbacks of an export."""

    step: Progress = field(default=lambda name: nullcontext())
    tell: Tell = field(default=lambda text: None)
    advance: Advance | None = None


@dataclass
class ExportState:
    """What the steps hand to each other; the step that makes a field sets it.

    Attributes:
        plan: what to make.
        source: the checkpoint.
        reporter: callbacks.
        calibration_text: the user's text; None: a built-in sample.
        model: the PyTorch module; freed before an engine is built.
        entries: of the manifest, read from the checkpoint.
        precision: decided by the plan, or by calibration.
        calibration: None for a precision that needs none.
        reference: what the graph is verified against.
        graph: as written.
        engine: None for ONNX Runtime.
        record: of the verification.
    """

    plan: ExportPlan
    source: Checkpoint
    reporter: Reporter = Reporter()
    calibration_text: Path | None = None
    model: nn.Module = field(init=False)
    entries: dict[str, Any] = field(default_factory=dict)
    precision: Precision = field(init=False)
    calibration: Calibration | None = None
    reference: Reference = field(init=False)
    graph: Graph = field(init=False)
    engine: Engine | None = None
    record: dict[str, Any] = field(default_factory=dict)

    @property
    def is_converted_later(self) -> bool:
        """Return whether the graph is verified in another precision first."""
        return self.precision.verified_as is not self.precision


def load(state: ExportState) -> None:
    """Read the weights, and everything else of the checkpoint that may be damaged."""
    plan, source = state.plan, state.source
    task = TASKS[plan.task]
    task.check(source)
    state.entries = {
        "model": shape_of(source.config),
        "special_tokens": special_token_ids(source.folder, source.config.vocab_size),
        "source": {
            "checkpoint": source.source,
            "revision": source.revision,
            "license": license_of(source.folder),
        },
        **task.manifest_entries(source),
    }
    onnxruntime_library()  # raises now, not after minutes, if it is missing
    state.model = load_model(source, plan.task)
    if "expansions" in extra_inputs(state.model) and plan.placement.backend != "onnxruntime":
        raise ExportError(
            "The checkpoint expands queries with tokens that nothing attends to "
            "(attend_to_expansion_tokens is false), which no engine of "
            f"{plan.placement.backend} is fed. Export with --backend onnxruntime, or for the CPU."
        )


def calibrate(state: ExportState) -> None:
    """Run text through the model where a precision needs it, and decide the precision."""
    plan, source = state.plan, state.source
    (state.precision, *_) = plan.placement.precisions
    if not plan.calibrates:
        return
    with state.reporter.step("measure the activations"):
        tokenizer = source.folder / TOKENIZER
        sample = read_sample(
            tokenizer if tokenizer.exists() else None,
            plan.limits,
            source.config.vocab_size,
            state.calibration_text,
        )
        state.calibration = state.precision.calibrate(state.model, source.config, sample)
        decide_precision(state, state.calibration)


def decide_precision(state: ExportState, calibration: Calibration) -> None:
    """Take the first of the plan's precisions whose range the model fits.

    Raises:
        ExportError: the model fits none of them.
    """
    placement = state.plan.placement
    refusals: list[str] = []
    for precision in placement.precisions:
        overflow = precision.overflow(state.model, calibration)
        if overflow is None:
            state.precision = precision
            if state.plan.precision is None:
                reason = f", since {refusals[-1]}." if refusals else ": all activations fit."
                state.reporter.tell(f"{precision.name}{reason}")
            return
        refusals.append(overflow)
    (first, *_) = placement.precisions
    raise ExportError(
        f"In {first.name} this model would overflow: {refusals[0]}. {_other_precision(state.plan)}"
    )


def _other_precision(plan: ExportPlan) -> str:
    """Name a precision with a larger range, as advice."""
    placement = plan.placement
    for name in AUTO[placement.processor]:
        other = find_precision(name, placement.processor)
        if other in placement.precisions:
            continue
        refusal = other.target_refusal(placement.target)
        if refusal is None:
            return f"Export with --precision {name}."
        return f"{refusal} Export with --precision fp32 --backend tensorrt, or for a newer GPU."
    return "Export with --precision fp32 --backend tensorrt."


def compute_reference(state: ExportState) -> None:
    """Run PyTorch in float64 and in the precision; the model is converted in place."""
    config, precision = state.source.config, state.precision.verified_as
    with state.reporter.step("run PyTorch"):
        by_direction = precision.least_cosine is not None
        text = state.calibration.sample if by_direction and state.calibration else None
        longest = state.plan.limits.max_sequence_length
        inputs = edge_case_batch(state.model, config, longest, text)
        state.reference = make_reference(
            state.model, config, state.plan.task, inputs, precision, state.calibration
        )
        check_direction(state.reference)


def write(state: ExportState, folder: Path) -> None:
    """Write the graph and the checkpoint's files."""
    plan, source = state.plan, state.source
    with state.reporter.step("write the model"):
        precision = state.precision.verified_as
        precision.prepare_graph(state.model, source.config)
        state.graph = write_graph(state.model, plan.task, plan.placement, precision, folder)
        copy_checkpoint_files(source.folder, folder)
        longest = plan.limits.max_sequence_length
        complete_tokenizer(source.folder, folder / TOKENIZER, longest)
        mask = state.entries["special_tokens"].get("mask")
        state.entries |= TASKS[plan.task].tokenizer_entries(
            source, folder / TOKENIZER, mask, plan.limits
        )
        state.engine = plan_engine(plan.placement, source.config, state.graph, plan.limits)


def verify_graph(state: ExportState, folder: Path) -> None:
    """Compare the graph with PyTorch, and convert it if that comes afterwards."""
    placement = state.plan.placement
    with state.reporter.step("verify"):
        runtimes = local_runtimes(folder, placement.backend, state.graph, state.engine)
        state.record = verify(runtimes, state.reference)
    if state.is_converted_later:
        with state.reporter.step(f"write the model in {state.precision.name}"):
            _convert_verified(state, folder)
    del state.model  # freed before an engine is built


def _convert_verified(state: ExportState, folder: Path) -> None:
    """Convert the verified graph, and record PyTorch's own error.

    The new graph cannot run on this machine.
    """
    precision, plan = state.precision, state.plan
    precision.convert(state.model, state.source.config, state.calibration)
    own_errors = state.reference.model_errors(state.model)
    state.record[precision.name] = {
        "pytorch_error": own_errors,
        "verified_as": precision.verified_as.name,
    }
    state.graph = write_graph(state.model, plan.task, plan.placement, precision, folder)
    state.reference = replace(state.reference, precision=precision, own_errors=own_errors)


def build(state: ExportState, folder: Path) -> None:
    """Build the engine, if it is built during the export."""
    placement = state.plan.placement
    if state.engine is None or not placement.builds_now:
        return
    with state.reporter.step(f"build the engine with {placement.backend}"):
        layers = len(state.source.config.layers)
        state.engine = build_engine(placement, state.engine, folder, layers, state.reporter.advance)


def run(state: ExportState, folder: Path) -> None:
    """Run the bundle on a GPU of this machine, if it is for one that is here."""
    device = state.plan.placement.device
    if device is None or (state.engine is not None and state.engine.file is None):
        return
    with state.reporter.step("run it on the GPU"):
        runtime = gpu_runtime(folder, manifest_of(state), device)
        state.record["gpu"] = verify(runtime, state.reference)


def finish(state: ExportState, folder: Path) -> Manifest:
    """Write the manifest, which makes the folder a bundle."""
    with state.reporter.step("finish the bundle"):
        manifest = replace(manifest_of(state), verification=state.record, files=list_files(folder))
        (folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
    return manifest


def manifest_of(state: ExportState) -> Manifest:
    """Return the manifest before files and verification are known."""
    plan, calibration = state.plan, state.calibration
    return Manifest(
        mbert_version=__version__,
        task=plan.task,
        precision=state.precision.name,
        target=plan.placement.name,
        backend=plan.placement.backend,
        operators=state.graph.operators,
        inputs=state.graph.inputs,
        outputs=state.graph.outputs,
        limits=plan.limits,
        engine=state.engine,
        calibration=None if calibration is None else calibration.record(),
        **state.entries,
    )
