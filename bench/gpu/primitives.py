"""Check the kernels' primitives on the GPU against tables of the PTX manual."""

from __future__ import annotations

from functools import partial

from .checkout import support
from .context import Context
from .results import Findings, check


def run(context: Context) -> Findings:
    """Run the emulator's checks with the GPU's instructions."""
    checks = support(context.checkout, "primitives").CHECKS
    return Findings(
        [
            check(name, partial(function, context.kernels.probe))
            for name, capability, function in checks
            if capability <= context.sm
        ]
    )
