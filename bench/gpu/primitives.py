"""Every primitive of the hardware layer on the card, against the tables of the PTX manual."""

from __future__ import annotations

from functools import partial

from .checkout import support
from .context import Context
from .results import Findings, check


def run(context: Context) -> Findings:
    """Run the checks that the emulated machine passes, with the card's own instructions."""
    checks = support(context.checkout, "primitives").CHECKS
    return Findings(
        [
            check(name, partial(function, context.kernels.probe))
            for name, capability, function in checks
            if capability <= context.sm
        ]
    )
