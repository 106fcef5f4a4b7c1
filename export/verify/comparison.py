"""Compare an exported model with its reference, and record the figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from mbert.errors import BackendError, ExportError

from .reference import SEED, Reference
from .runtimes import SessionFactory


def judge() -> str:
    """Name the judge, as records do."""
    return f"PyTorch {torch.__version__} in float64"


def verify(runtimes: Mapping[str, SessionFactory], reference: Reference) -> dict[str, Any]:
    """Run the ONNX model in every runtime; return the record.

    Raises:
        ExportError: the model does not run, or errs beyond the tolerance.
    """
    record = compare(runtimes, reference)
    for runtime, output in beyond_tolerance(record):
        judged = record["outputs"][output]
        raise ExportError(
            f"The exported model is wrong: run with {runtime}, {output} differs from PyTorch by "
            f"{record['checks'][runtime][output]['max_abs_error']:.3g}, the tolerance is "
            f"{judged['tolerance']:.3g} ({reference.precision.factor:g} times PyTorch's own error "
            f"in {reference.precision.name}). Nothing was written; please report the checkpoint's "
            "config.json."
        )
    return record


def compare(runtimes: Mapping[str, SessionFactory], reference: Reference) -> dict[str, Any]:
    """Run the ONNX model in every runtime; return the record without judging it.

    Raises:
        ExportError: the model does not run.
    """
    checks = {}
    for runtime, make_session in runtimes.items():
        try:
            outputs = make_session()(reference.inputs)
        except BackendError as refusal:
            raise ExportError(
                f"The exported model does not run with {runtime}: {refusal}"
            ) from refusal
        errors = reference.errors(outputs)
        checks[runtime] = {output: {"max_abs_error": error} for output, error in errors.items()}
    return {
        "judge": judge(),
        "batch": {"lengths": reference.lengths, "seed": SEED},
        "precision": reference.precision.name,
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
    """Return the checks of a record that failed, as runtime and output; NaN fails."""
    return [
        (runtime, output)
        for runtime, errors in record["checks"].items()
        for output, check in errors.items()
        if not check["max_abs_error"] <= record["outputs"][output]["tolerance"]
    ]
