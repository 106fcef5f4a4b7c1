"""The primitives of the CUDA kernels on the card, against tables from the PTX manual."""

from __future__ import annotations

from functools import partial

from .checkout import support
from .context import Context
from .results import Findings, check


def run(context: Context) -> Findings:
    """Run the checks of the emulated GPU with the card's instructions."""
    checks = support(context.checkout, "primitives").CHECKS
    return Findings(
        [
            check(name, partial(function, context.kernels.probe))
            for name, capability, function in checks
            if capability <= context.sm
        ]
    )
