"""Verify a bundle once more, on texts of the user's choice."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from mbert.errors import ExportError, InputError
from mbert.runtime.backends import open_session
from mbert.runtime.bundle import Bundle, open_bundle
from mbert.runtime.packing import pack
from mbert.runtime.tokenization import Tokenizer

from ..checkpoint import Checkpoint, open_checkpoint
from ..inputs import make_batch
from ..plan import shape_of
from ..precisions import Calibration, Precision, find_precision
from ..precisions.calibration_data import read_lines, read_sample
from ..tasks import load_model
from .comparison import beyond_tolerance, compare, judge
from .reference import SEED, edge_case_batch, make_reference

# Tokens that PyTorch computes at a time: float64 takes twice the memory of the run itself.
_TOKENS = 2048

# Called with the name of each step; the step runs inside the context manager that it returns.
Progress = Callable[[str], AbstractContextManager[object]]


def verify_bundle(
    bundle: str | os.PathLike[str],
    checkpoint: str | os.PathLike[str],
    texts: Sequence[str] | None = None,
    *,
    revision: str | None = None,
    device: str | None = None,
    progress: Progress = lambda name: nullcontext(),
) -> dict[str, Any]:
    """Compare a bundle, as users run it, with PyTorch on texts.

    Args:
        bundle: a folder written by ``mbert-export``; one for a GPU needs that GPU.
        checkpoint: the folder or hub id that it was exported from.
        texts: cut to the bundle's longest sequence; None: a built-in sample, or random ids without
            a tokenizer.
        revision: branch, tag or commit of a hub id.
        device: as in :func:`mbert.load`.
        progress: called with the name of each step; returns a context manager around it.

    Returns:
        ``passed``; ``judge``; ``precision``; ``reduced_on_cpu``; ``sequences`` and ``tokens``, how
        many; ``factor``, of PyTorch's own error that is tolerated; ``hidden_state_cosine``, of
        PyTorch in the bundle's precision with float64, the least mean of a batch; ``least_cosine``,
        its bound or None; and for each of ``outputs`` the figures of the batch whose error is
        nearest its tolerance.

    Raises:
        BundleError: as :func:`mbert.load`.
        BackendError: as :func:`mbert.load`.
        CheckpointError: the checkpoint cannot be read.
        ExportError: the checkpoint has another shape than the bundle.
        InputError: no texts, or no tokenizer for them.
    """
    with progress("load the bundle"):
        opened = open_bundle(bundle)
        session = open_session(opened, threads=None, device=device, kernels=True)
    manifest = opened.manifest
    precision = find_precision(manifest.precision, "cpu" if manifest.target == "cpu" else "gpu")
    records = []
    calibration: Calibration | None = None
    try:
        with progress("read the checkpoint"):
            source = open_checkpoint(os.fspath(checkpoint), revision)
            _check_shape(source, opened)
            sequences = _sequences(opened, texts)
        with progress("compare"):
            for model, inputs in _batches(source, opened, sequences):
                if precision.converts_by_calibration and calibration is None:
                    calibration = _calibrate(model, source, opened, precision)
                reference = make_reference(
                    model, source.config, manifest.task, inputs, precision, calibration
                )
                records.append(compare({manifest.backend: lambda: session.run}, reference))
    finally:
        session.close()
    return _summary(opened, precision, records)


def _summary(
    bundle: Bundle, precision: Precision, records: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    manifest, least = bundle.manifest, precision.least_cosine
    lengths = [length for record in records for length in record["batch"]["lengths"]]
    cosine = min(record["hidden_state_cosine"]["mean"] for record in records)
    turned = least is not None and not cosine >= least
    return {
        "passed": not turned and not any(map(beyond_tolerance, records)),
        "hidden_state_cosine": cosine,
        "least_cosine": least,
        "judge": judge(),
        "precision": precision.name,
        "factor": precision.factor,
        "reduced_on_cpu": manifest.reduced_on_cpu,
        "sequences": len(lengths),
        "tokens": sum(lengths),
        "outputs": {spec.name: _worst(records, spec.name) for spec in manifest.outputs},
    }


def _check_shape(source: Checkpoint, bundle: Bundle) -> None:
    """Raise unless the checkpoint has the bundle's shape."""
    shape = shape_of(source.config)
    differing = [
        f"{key} is {value!r}, the bundle's is {bundle.manifest.model[key]!r}"
        for key, value in shape.items()
        if key in bundle.manifest.model and bundle.manifest.model[key] != value
    ]
    if differing:
        raise ExportError(
            f"{source.source} is not what {bundle.folder} was exported from: "
            f"{'; '.join(differing)}. Name the checkpoint that it was."
        )


def _sequences(bundle: Bundle, texts: Sequence[str] | None) -> list[NDArray[np.int32]] | None:
    """Return the texts' ids; None without texts and tokenizer, for random ids."""
    if texts is None and bundle.tokenizer is None:
        return None
    if texts is None:
        texts = read_lines(None)
    if not texts:
        raise InputError("There are no texts to compare on. Give one a line.")
    if bundle.tokenizer is None:
        raise InputError(
            f"{bundle.folder} has no tokenizer.json, since the checkpoint had none: it cannot be "
            "compared on texts. Leave them out; random ids take their place."
        )
    return Tokenizer(bundle.tokenizer, bundle.manifest.limits, bundle.manifest.vocab_size).encode(
        texts, "truncate"
    )


def _batches(
    source: Checkpoint, bundle: Bundle, sequences: list[NDArray[np.int32]] | None
) -> Iterator[tuple[nn.Module, dict[str, NDArray[np.int32]]]]:
    """Yield packed batches, each with a freshly loaded model: a reference converts it."""
    manifest = bundle.manifest
    if sequences is None:
        model = load_model(source, manifest.task)
        yield model, edge_case_batch(model, source.config, manifest.limits.max_sequence_length)
        return
    for batch in pack(sequences, _TOKENS, manifest.limits.max_sequences):
        model = load_model(source, manifest.task)
        lengths = np.diff(batch.cu_seqlens).tolist()
        vocab_size = source.config.vocab_size
        inputs = make_batch(model, lengths, vocab_size, np.random.default_rng(SEED))
        inputs["input_ids"][: batch.input_ids.size] = batch.input_ids
        yield model, inputs


def _calibrate(
    model: nn.Module, source: Checkpoint, bundle: Bundle, precision: Precision
) -> Calibration:
    """Calibrate as an export does without text of the user's."""
    limits, vocab_size = bundle.manifest.limits, source.config.vocab_size
    sample = read_sample(bundle.tokenizer, limits, vocab_size, None)
    return precision.calibrate(model, source.config, sample)


def _worst(records: Sequence[dict[str, Any]], output: str) -> dict[str, float]:
    """Return the figures of the batch with the largest error over tolerance."""
    figures = [
        {**errors[output], **record["outputs"][output]}
        for record in records
        for errors in record["checks"].values()
    ]

    def excess(one: dict[str, float]) -> float:
        return float(np.nan_to_num(one["max_abs_error"] - one["tolerance"], nan=np.inf))

    return max(figures, key=excess)
