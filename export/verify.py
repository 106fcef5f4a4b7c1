"""Verification: the exported model, as users run it, against PyTorch.

The judge is the model in float64. PyTorch's own error against it, in the precision of the export,
is the yardstick: what is exported may err at most :data:`FACTORS` times as much, in each output.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mbert.errors import BackendError, CheckpointError, ExportError
from mbert.model.families.modernbert_config import ModelConfig
from mbert.runtime.backends import open_session
from mbert.runtime.backends.onnxruntime import OnnxRuntimeSession
from mbert.runtime.bundle import MODEL, Bundle
from mbert.runtime.calls import compute
from mbert.runtime.manifest import Engine, Manifest
from mbert.runtime.tasks import TASKS

from .graph import Graph
from .hooks import hooked
from .inputs import make_batch
from .precision import cast
from .sample import Sample

# float32 differs by the order of sums alone; in reduced precision each step rounds.
FACTORS = {"fp32": 4.0, "fp16": 2.0, "bf16": 2.0, "int8": 2.0}
# Where PyTorch happens to err by next to nothing: a few units in the last place of the largest
# value are rounding, not drift.
FLOOR = 1e-6
# int8 is judged by direction, too: the mean cosine of PyTorch's last hidden states with the same
# integers, on text, since that is where the large channels are.
LEAST_COSINE = 0.999
SEED = 0

# Around every block and window boundary of the kernels, and one of several blocks.
_LENGTHS = (1, 2, 15, 16, 17, 63, 64, 65, 127, 128, 129, 130, 260)

Batch = Mapping[str, NDArray[np.int32]]
Arrays = Sequence[NDArray[Any]]  # the outputs, in the order of the graph
Run = Callable[[Batch], Arrays]
Opener = Callable[[], Run]  # loads the model
Reduce = Callable[[nn.Module], None]  # converts it in place


@dataclass(frozen=True)
class Reference:
    """A packed batch, and what PyTorch makes of it in float64 and in the export's precision.

    ``exact`` and ``own_errors`` go by the names of the outputs, in the order of the graph;
    ``cosines`` are of the last hidden states of both, for each token.
    """

    inputs: dict[str, NDArray[np.int32]]
    exact: dict[str, NDArray[np.float64]]
    precision: str
    own_errors: dict[str, float]
    cosines: NDArray[np.float64]

    @property
    def lengths(self) -> list[int]:
        """Of the sequences."""
        lengths: list[int] = np.diff(self.inputs["cu_seqlens"]).tolist()
        return lengths

    def tolerance(self, output: str) -> float:
        """Largest absolute error that the export may show in ``output``."""
        floor = FLOOR * self.largest_value(output)
        return max(FACTORS[self.precision] * self.own_errors[output], floor)

    def largest_value(self, output: str) -> float:
        """Largest magnitude of ``output``."""
        return float(np.abs(self.exact[output]).max())

    def errors(self, model: nn.Module) -> dict[str, float]:
        """Largest absolute error of ``model`` on the batch, for each output."""
        return _errors(_run(model, self.inputs), self.exact)


def awkward_batch(
    model: nn.Module, config: ModelConfig, max_length: int, text: Sample | None = None
) -> dict[str, NDArray[np.int32]]:
    """Make a batch of awkward lengths, up to ``max_length``, of random ids or of a text's.

    The longest sequence is longer than the widest window, so that every window cuts.
    """
    widest = max(layer.window for layer in config.layers)
    lengths = (*_LENGTHS, widest + _LENGTHS[-1])
    used = tuple(dict.fromkeys(min(length, max_length) for length in lengths))
    batch = make_batch(model, used, config.vocab_size, np.random.default_rng(SEED))
    if text is not None:
        tokens = sum(used)
        batch["input_ids"][:tokens] = np.resize(np.concatenate(text.sequences), tokens)
    return batch


def make_reference(
    model: nn.Module,
    task: str,
    inputs: dict[str, NDArray[np.int32]],
    precision: str = "fp32",
    reduce: Reduce | None = None,
) -> Reference:
    """Run a packed batch through PyTorch, in float64 and in ``precision``.

    The model, of float32, is left in ``precision``: converting it in place needs the memory of one
    copy only. ``reduce`` converts it from float64; None: a cast does.

    Raises:
        CheckpointError: the weights give values that are not finite.
        ExportError: ``precision`` does.
    """
    outputs, exact_hidden = _run_with_hidden(model.double(), inputs)
    exact = dict(zip(TASKS[task].outputs, outputs, strict=True))
    if reduce is None:
        cast(model, precision)
    else:
        reduce(model)
    own, hidden = _run_with_hidden(model, inputs)
    if not _finite(exact.values()):
        raise CheckpointError(
            "The checkpoint computes values that are not finite, in PyTorch too: its weights are "
            "damaged."
        )
    if not _finite(own):  # else anything would be within the tolerance
        raise ExportError(
            f"In {precision} the model overflows on the batch that verifies it, in PyTorch too. "
            "Export with --precision bf16, or fp32."
        )
    cosines = _cosines(hidden, exact_hidden)
    return Reference(inputs, exact, precision, _errors(own, exact), cosines)


def check_cosines(reference: Reference) -> None:
    """Refuse a quantized model whose last hidden states turn too far.

    Raises:
        ExportError: they do.
    """
    mean = float(reference.cosines.mean())
    if not mean >= LEAST_COSINE:  # also refuses NaN
        raise ExportError(
            f"In {reference.precision} the last hidden states turn away from those in float64: "
            f"the mean cosine is {mean:.5f}, expected at least {LEAST_COSINE}. Export with "
            "--precision fp32, or give text of your own with --calibration."
        )


def _run_with_hidden(
    model: nn.Module, batch: Batch
) -> tuple[list[NDArray[np.float64]], NDArray[np.float64]]:
    """The outputs, and what the encoder gave its head: [tokens, hidden]."""
    hidden: list[Tensor] = []
    encoder = model.get_submodule("model")
    note = encoder.register_forward_hook(lambda module, inputs, output: hidden.append(output))
    with hooked([note]):
        outputs = _run(model, batch)
    return outputs, np.asarray(hidden[0].double().numpy())


def _cosines(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    cosines: NDArray[np.float64] = (a * b).sum(-1) / lengths
    return cosines


def _run(model: nn.Module, batch: Batch) -> list[NDArray[np.float64]]:
    with torch.inference_mode():
        found = model(**{name: torch.from_numpy(array) for name, array in batch.items()})
        outputs = found if isinstance(found, tuple) else (found,)
        return [np.asarray(output.double().numpy()) for output in outputs]


def _finite(arrays: Iterable[NDArray[Any]]) -> bool:
    return all(np.isfinite(array).all() for array in arrays)


def _errors(found: Arrays, exact: Mapping[str, NDArray[np.float64]]) -> dict[str, float]:
    pairs = zip(exact.items(), found, strict=True)
    return {name: float(np.abs(values - right).max()) for (name, right), values in pairs}


def run_in(folder: Path, backend: str, graph: Graph, engine: Engine | None) -> dict[str, Opener]:
    """The ways in which ONNX Runtime runs the graph of ``backend`` on this machine, by name.

    A graph that an engine without plugins is built from is fed as that engine is.
    """
    model = folder / MODEL

    def packed(kernels: bool) -> Run:
        session = OnnxRuntimeSession(model, kernels=kernels)
        return session.run

    def padded() -> Run:
        assert engine is not None
        session = OnnxRuntimeSession(model, kernels=False)
        return lambda batch: compute(
            batch, engine, graph.inputs, graph.outputs, lambda call: session.run(call.feeds)
        )

    if backend == "tensorrt-rtx":
        return {"standard operators": padded}
    ways: dict[str, Opener] = {"plugin": lambda: packed(True)}
    if backend == "onnxruntime":  # TensorRT's graph carries no functions
        ways["functions"] = lambda: packed(False)
    return ways


def run_on_gpu(folder: Path, manifest: Manifest, device: int) -> dict[str, Opener]:
    """The way in which users run the bundle in ``folder``, on a GPU of this machine."""

    def opened() -> Run:
        session = open_session(
            Bundle(folder, manifest), threads=None, device=f"cuda:{device}", kernels=True
        )
        return session.run

    return {manifest.backend: opened}


def verify(ways: Mapping[str, Opener], reference: Reference) -> dict[str, Any]:
    """Run the ONNX model in every one of ``ways``; return the record.

    Raises:
        ExportError: it does not run, or errs beyond the tolerance.
    """
    record = compare(ways, reference)
    for name, output in beyond_tolerance(record):
        judged = record["outputs"][output]
        raise ExportError(
            f"The exported model is wrong: run with {name}, {output} differs from PyTorch by "
            f"{record['checks'][name][output]['max_abs_error']:.3g}, the tolerance is "
            f"{judged['tolerance']:.3g} ({FACTORS[reference.precision]:g} times PyTorch's own "
            f"error in {reference.precision}). Nothing was written; please report the checkpoint's "
            "config.json."
        )
    return record


def compare(ways: Mapping[str, Opener], reference: Reference) -> dict[str, Any]:
    """Run the ONNX model in every one of ``ways``; return the record, whatever the errors.

    Raises:
        ExportError: it does not run.
    """
    checks = {}
    for name, opened in ways.items():
        try:
            found = opened()(reference.inputs)
        except BackendError as refusal:
            raise ExportError(
                f"The exported model does not run with {name}: {refusal}"
            ) from refusal
        errors = _errors(found, reference.exact)
        checks[name] = {output: {"max_abs_error": error} for output, error in errors.items()}
    return {
        "judge": f"PyTorch {torch.__version__} in float64",
        "batch": {"lengths": reference.lengths, "seed": SEED},
        "precision": reference.precision,
        "outputs": {
            output: {
                "largest_value": reference.largest_value(output),
                "pytorch_error": own_error,
                "tolerance": reference.tolerance(output),
            }
            for output, own_error in reference.own_errors.items()
        },
        "hidden_state_cosine": {
            "mean": float(reference.cosines.mean()),
            "smallest": float(reference.cosines.min()),
        },
        "checks": checks,
    }


def beyond_tolerance(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The checks of a record that failed: way and output. NaN fails."""
    return [
        (name, output)
        for name, errors in record["checks"].items()
        for output, check in errors.items()
        if not check["max_abs_error"] <= record["outputs"][output]["tolerance"]
    ]
