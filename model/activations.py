"""Activation functions, by the names that config.json gives them."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F


def _tanh_gelu(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


ACTIVATION_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,  # the exact, erf form
    "silu": F.silu,
    "relu": F.relu,
    "gelu_pytorch_tanh": _tanh_gelu,
}
