"""Verification: the exported model, as users run it, against PyTorch.

The judge is the model in float64. PyTorch's own float32 error against it is the yardstick: what is
exported may err at most :data:`ERROR_FACTOR` times as much.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mbert.errors import BackendError, CheckpointError, ExportError
from mbert.runtime.backends.onnxruntime import OnnxRuntimeSession, Operators

ERROR_FACTOR = 4.0
# Where PyTorch happens to err by next to nothing: a few units in the last place of the largest
# value are rounding, not drift.
FLOOR = 1e-6
SEED = 0

# Around every block and window boundary of the kernels, and one of several blocks.
_LENGTHS = (1, 2, 15, 16, 17, 63, 64, 65, 127, 128, 129, 130, 260)
_WAYS: dict[str, Operators] = {"plugin": "plugin", "functions": "functions"}


@dataclass(frozen=True)
class Reference:
    """A packed batch, and what PyTorch makes of it in float64 and in float32."""

    inputs: dict[str, NDArray[np.int32]]
    lengths: tuple[int, ...]
    exact: NDArray[np.float64]
    float32_error: float

    @property
    def tolerance(self) -> float:
        """Largest absolute error that the export may show."""
        return max(ERROR_FACTOR * self.float32_error, FLOOR * float(np.abs(self.exact).max()))


def make_reference(
    model: nn.Module, task: str, vocab_size: int, max_length: int, widest_window: int
) -> Reference:
    """Run a batch of awkward lengths through PyTorch, in float32 and then in float64.

    The longest sequence is longer than ``widest_window``, so that every window cuts. The model is
    left in float64: converting it in place needs the memory of one copy only.

    Raises:
        CheckpointError: the weights give values that are not finite.
    """
    lengths = (*_LENGTHS, widest_window + _LENGTHS[-1])
    used = tuple(dict.fromkeys(min(length, max_length) for length in lengths))
    generator = np.random.default_rng(SEED)
    tokens = sum(used)
    inputs = {
        "input_ids": generator.integers(0, vocab_size, tokens, dtype=np.int32),
        "cu_seqlens": np.cumsum((0, *used), dtype=np.int32),
    }
    if task == "fill-mask":
        rows = generator.choice(tokens, size=min(tokens, 64), replace=False)
        inputs["mask_positions"] = np.sort(rows).astype(np.int32)
    tensors = {name: torch.from_numpy(array) for name, array in inputs.items()}
    with torch.inference_mode():
        single = model(**tensors).numpy()
        exact = model.double()(**tensors).numpy()
    if not np.isfinite(exact).all():
        raise CheckpointError(
            "The checkpoint computes values that are not finite, in PyTorch too: its weights are "
            "damaged."
        )
    return Reference(inputs, used, exact, float(np.abs(single - exact).max()))


def verify(model: Path, reference: Reference) -> dict[str, Any]:
    """Run the ONNX model with the kernels and with the functions alone; return the record.

    Raises:
        ExportError: it does not run, or errs beyond the tolerance.
    """
    checks = {}
    for name, operators in _WAYS.items():
        try:
            output = OnnxRuntimeSession(model, operators=operators).run(reference.inputs)[0]
        except BackendError as refusal:
            raise ExportError(
                f"The exported model does not run with {name}: {refusal}"
            ) from refusal
        error = float(np.abs(output - reference.exact).max())
        if not error <= reference.tolerance:  # also refuses NaN
            raise ExportError(
                f"The exported model is wrong: run with {name} it differs from PyTorch by "
                f"{error:.3g}, the tolerance is {reference.tolerance:.3g} ({ERROR_FACTOR:g} times "
                f"PyTorch's own float32 error). Nothing was written; please report the "
                "checkpoint's config.json."
            )
        checks[name] = {"max_abs_error": error}
    return {
        "judge": f"PyTorch {torch.__version__} in float64",
        "batch": {"lengths": list(reference.lengths), "seed": SEED},
        "largest_value": float(np.abs(reference.exact).max()),
        "pytorch_float32_error": reference.float32_error,
        "tolerance": reference.tolerance,
        "checks": checks,
    }
