"""Register an operator's reference as ``torch.ops.mbert.*``, by the table of operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from mbert.plugins.operators import DOMAIN, OPERATORS

Function = Callable[..., Tensor]


class CustomOp(Protocol):
    """An operator that PyTorch knows; see ``torch.library.custom_op``."""

    def __call__(self, *args: Any) -> Tensor:
        """Compute the operator."""
        ...

    def register_fake(self, function: Function, /) -> Function:
        """Register the function that gives the output's shape and type."""
        ...


def custom_op(name: str) -> Callable[[Function], CustomOp]:
    """Return a decorator that registers a function as the operator ``name`` of the table.

    The function takes the inputs, then the attributes; an attribute with codes is passed by name.
    """
    operator = OPERATORS[name]
    arguments = [f"Tensor {tensor.name}" for tensor in operator.inputs] + [
        f"{'str' if attribute.codes else attribute.type} {attribute.name}"
        for attribute in operator.attributes
    ]
    decorator = torch.library.custom_op(
        f"{DOMAIN}::{operator.torch_name}",
        mutates_args=(),
        schema=f"({', '.join(arguments)}) -> Tensor",
    )
    return cast(Callable[[Function], CustomOp], decorator)
