"""Register an operator's reference as ``torch.ops.mbert.*``, by the table of operators."""

from __future__ import annotations

from typing import Any

import torch

from mbert.plugins.operators import DOMAIN, OPERATORS


def custom_op(name: str) -> Any:
    """Return a decorator that registers a function as the operator ``name`` of the table.

    The function takes the inputs, then the attributes; an attribute with codes is passed by name.
    """
    operator = OPERATORS[name]
    arguments = [f"Tensor {tensor.name}" for tensor in operator.inputs] + [
        f"{'str' if attribute.codes else attribute.type} {attribute.name}"
        for attribute in operator.attributes
    ]
    return torch.library.custom_op(
        f"{DOMAIN}::{operator.torch_name}",
        mutates_args=(),
        schema=f"({', '.join(arguments)}) -> Tensor",
    )
