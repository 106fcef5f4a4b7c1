"""The plan of an export, made from the checkpoint's config without weights."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any

from mbert.errors import ExportError
from mbert.model.families.modernbert_config import ModelConfig
from mbert.runtime.manifest import Limits

from .checkpoint import Checkpoint
from .placement import Placement
from .precisions import Precision, Processor
from .tasks import Task, default_task, find_task

# Tokens of one call by default: a bound on memory.
MAX_TOKENS: dict[Processor, int] = {"cpu": 16384, "gpu": 8192}


@dataclass(frozen=True)
class ExportPlan:
    """What an export will make, and why.

    Attributes:
        checkpoint: the name of its folder, or a hub id.
        revision: the commit of a hub id.
        task: one of :data:`mbert.export.tasks.TASKS`.
        placement: target, backend and candidate precisions.
        limits: the largest call.
    """

    checkpoint: str
    revision: str | None
    task: str
    placement: Placement
    limits: Limits

    @property
    def precision(self) -> Precision | None:
        """Return the precision; None if calibration decides between several."""
        (first, *others) = self.placement.precisions
        return None if others else first

    @property
    def calibrates(self) -> bool:
        """Return whether text is run through the model first."""
        return any(precision.calibrates for precision in self.placement.precisions)

    def describe(self) -> list[tuple[str, str]]:
        """Return rows of a name and a value, to print."""
        placement, limits = self.placement, self.limits
        target = placement.target
        capability = "" if target is None else f", compute capability {target.compute_capability}"
        revision = "" if self.revision is None else f" at {self.revision}"
        return [
            ("checkpoint", f"{self.checkpoint}{revision}"),
            ("task", self.task),
            ("target", f"{placement.name}{capability}"),
            ("backend", placement.backend),
            ("precision", self._precision_text()),
            ("engine", self._engine_text()),
            ("calibration", "on text, before the export" if self.calibrates else "none"),
            ("verification", self._verification_text()),
            ("max_tokens", str(limits.max_tokens)),
            ("max_sequence_length", str(limits.max_sequence_length)),
            ("max_sequences", str(limits.max_sequences)),
            *(("reason", reason) for reason in placement.reasons),
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as an object of JSON types."""
        placement, target = self.placement, self.placement.target
        return {
            "checkpoint": self.checkpoint,
            "revision": self.revision,
            "task": self.task,
            "target": placement.name,
            "compute_capability": None if target is None else target.compute_capability,
            "backend": placement.backend,
            "precision": None if self.precision is None else self.precision.name,
            "candidate_precisions": [precision.name for precision in placement.precisions],
            "calibrates": self.calibrates,
            "builds_engine_now": placement.builds_now,
            "hardware_compatibility": placement.hardware_compatibility,
            "device": placement.device,
            "limits": asdict(self.limits),
            "reasons": list(placement.reasons),
        }

    def __str__(self) -> str:
        """Return one line for each row of :meth:`describe`."""
        return "\n".join(f"{name}: {value}" for name, value in self.describe())

    def _precision_text(self) -> str:
        if self.precision is not None:
            return self.precision.name
        first, *others = (precision.name for precision in self.placement.precisions)
        return f"to be decided by calibration: {first}, or {' or '.join(others)} if it overflows"

    def _engine_text(self) -> str:
        placement = self.placement
        if placement.backend == "onnxruntime":
            return "none: ONNX Runtime runs the graph"
        if not placement.builds_now:
            return "built when the bundle is first loaded on its GPU"
        if placement.backend == "tensorrt":
            return f"built during the export, on cuda:{placement.device}"
        return "built during the export, without a GPU"

    def _verification_text(self) -> str:
        here = "against PyTorch in float64, on this machine"
        device = self.placement.device
        return here if device is None else f"{here} and on cuda:{device}"


def make_plan(
    source: Checkpoint,
    placement: Placement,
    task: str | None = None,
    max_tokens: int | None = None,
    max_sequence_length: int | None = None,
) -> ExportPlan:
    """Plan the export of a checkpoint; its weights are not read.

    Args:
        source: an opened checkpoint.
        placement: see :func:`mbert.export.placement.choose_placement`.
        task: one of :data:`mbert.export.tasks.TASKS`; None: the checkpoint's own.
        max_tokens: of one call; None: the default of the processor, or one longest sequence.
        max_sequence_length: in tokens; None: the checkpoint's.

    Raises:
        CheckpointError: the task is unknown, or the checkpoint names none or has damaged settings.
        ExportError: the limits contradict each other, or backend or precision do not take the
            model's sizes.
    """
    task = task or default_task(source)
    found = find_task(task)
    _check_head_dim(source.config.head_dim, placement)
    limits = _limits(source, found, placement.processor, max_tokens, max_sequence_length)
    for precision in placement.precisions:
        if (refusal := precision.model_refusal(source.config)) is not None:
            raise ExportError(refusal)
    return ExportPlan(source.source, source.revision, task, placement, limits)


def shape_of(config: ModelConfig) -> dict[str, object]:
    """Return the manifest's ``model``: the shape of the encoder."""
    shape = asdict(config)
    for key in ("id2label", "problem_type", "architectures"):
        del shape[key]
    # Lists, as JSON reads them back.
    return {**shape, "layers": list(shape["layers"]), "head_dim": config.head_dim}


def _check_head_dim(head_dim: int, placement: Placement) -> None:
    """Raise unless the backend's attention takes the head size."""
    if placement.target is None:
        sizes: Collection[int] = range(16, 257, 16)
        words = "multiples of 16 from 16 to 256"
    elif placement.backend == "tensorrt-rtx":
        sizes, words = range(16, 129, 16), "multiples of 16 from 16 to 128"
    else:
        sizes, words = (32, 64, 128), "32, 64 or 128"
    if head_dim not in sizes:
        raise ExportError(
            f"The checkpoint's heads have {head_dim} channels (hidden_size / num_attention_heads); "
            f"attention on {placement.name} with {placement.backend} takes {words}."
        )


def _limits(
    source: Checkpoint,
    task: Task,
    processor: Processor,
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
    tokens = max_tokens or max(MAX_TOKENS[processor], longest)
    if tokens < longest:
        raise ExportError(
            f"--max-tokens is {tokens}, less than one sequence of {longest} tokens "
            "(--max-sequence-length)."
        )
    return Limits(max_tokens=tokens, max_sequence_length=longest, max_sequences=task.max_sequences)
