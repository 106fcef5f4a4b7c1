"""Linear layers as the CPU kernels compute them: weights in panels, with what stands around them.

A layer's weight is laid out in panels of 16 outputs, [outputs / 16, inputs / n, 16, n], where the n
inputs that an instruction multiplies at once lie together for each output: 1 in float32, 2 in
bfloat16, 4 in 8 bits (docs/operators.md).

Each type of weights has a family of four operators, which differ in what stands before and after
the product; they are registered as ``torch.ops.mbert.*``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..activations import ACTIVATION_FUNCTIONS

PANEL_OUTPUTS = 16
PANEL_INPUTS = {torch.float32: 1, torch.bfloat16: 2, torch.uint8: 4}

# The operators' integer attribute `activation`.
ACTIVATION_CODES = {"gelu": 0, "silu": 1, "relu": 2, "gelu_pytorch_tanh": 3}


def to_panels(weight: Tensor) -> Tensor:
    """Lay [outputs, inputs] out in panels; both sizes are multiples of 16."""
    outputs, inputs = weight.shape
    together = PANEL_INPUTS[weight.dtype]
    panels = weight.view(outputs // PANEL_OUTPUTS, PANEL_OUTPUTS, inputs // together, together)
    return panels.transpose(1, 2).contiguous()


def from_panels(panels: Tensor) -> Tensor:
    """Undo :func:`to_panels`."""
    groups, steps, columns, together = panels.shape
    return panels.transpose(1, 2).reshape(groups * columns, steps * together)


def interleave(values_then_gates: Tensor) -> Tensor:
    """Reorder [2 * channels, ...] so that panels of values and of their gates take turns."""
    channels = values_then_gates.shape[0] // 2
    panels = values_then_gates.view(
        2, channels // PANEL_OUTPUTS, PANEL_OUTPUTS, *values_then_gates.shape[1:]
    )
    return panels.transpose(0, 1).reshape(values_then_gates.shape)


Operator = Callable[..., Tensor]


@dataclass(frozen=True)
class LinearOperators:
    """A family of operators for one type of weights, given as ``operands``: weight, ..., bias.

    Attributes:
        linear: (x, *operands) -> [tokens, outputs], of x [tokens, inputs].
        residual_linear: (x, *operands, residual [tokens, outputs]): with that sum.
        norm_linear: (x, norm_weight, norm_bias, *operands, epsilon): of the LayerNorm of x, with
            norm_weight and norm_bias [inputs].
        norm_gated_linear: (x, norm_weight, norm_bias, *operands, epsilon, activation) ->
            [tokens, outputs / 2]: likewise, then activated values times gates, for weights in the
            order of :func:`interleave`; activation is one of :data:`ACTIVATION_CODES`.
    """

    linear: Operator
    residual_linear: Operator
    norm_linear: Operator
    norm_gated_linear: Operator

    def __deepcopy__(self, memo: dict[int, Any]) -> LinearOperators:
        """Functions are shared, as they are of any module."""
        return self


def define_operators(prefix: str, operands: str, linear: Operator) -> LinearOperators:
    """Register a family as ``torch.ops.mbert.<prefix>linear`` and so on.

    Args:
        prefix: of the names.
        operands: the arguments between x (and its norm) and the residual, as a PyTorch schema.
        linear: computes the plain form.
    """

    def residual_linear(x: Tensor, *rest: Tensor) -> Tensor:
        return linear(x, *rest[:-1]) + rest[-1]

    def norm_linear(x: Tensor, norm_weight: Tensor, norm_bias: Tensor, *rest: Any) -> Tensor:
        *operands, epsilon = rest
        norm = norm_weight.to(x.dtype), norm_bias.to(x.dtype)
        return linear(F.layer_norm(x, x.shape[-1:], *norm, epsilon), *operands)

    def norm_gated_linear(x: Tensor, *rest: Any) -> Tensor:
        *operands, activation = rest
        panels = norm_linear(x, *operands).view(x.shape[0], -1, 2, PANEL_OUTPUTS)
        gated = ACTIVATION_FUNCTIONS[activation](panels[:, :, 0]) * panels[:, :, 1]
        return gated.reshape(x.shape[0], -1)

    def define(name: str, arguments: str, function: Operator, weight: int, share: int) -> Operator:
        def fake(x: Tensor, *rest: Any) -> Tensor:
            return x.new_empty(x.shape[0], rest[weight].shape[0] * PANEL_OUTPUTS // share)

        schema = f"({arguments}) -> Tensor"
        operator = torch.library.custom_op(
            f"mbert::{prefix}{name}", function, mutates_args=(), schema=schema
        )
        operator.register_fake(fake)
        return operator

    x, norm = "Tensor x", "Tensor norm_weight, Tensor norm_bias"
    return LinearOperators(
        define("linear", f"{x}, {operands}", linear, 0, 1),
        define("residual_linear", f"{x}, {operands}, Tensor residual", residual_linear, 0, 1),
        define("norm_linear", f"{x}, {norm}, {operands}, float epsilon", norm_linear, 2, 1),
        define(
            "norm_gated_linear",
            f"{x}, {norm}, {operands}, float epsilon, str activation",
            norm_gated_linear,
            2,
            2,
        ),
    )


def _linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Rows are rounded to the weights' type, and the products summed in their own."""
    rows = x.to(weight.dtype).to(x.dtype) if weight.dtype == torch.bfloat16 else x
    return F.linear(rows, from_panels(weight).to(x.dtype), bias.to(x.dtype))


# weight: float32 or bfloat16 panels; bias: float32 [outputs].
FLOAT_OPERATORS = define_operators("", "Tensor weight, Tensor bias", _linear)


class FusedLinear(nn.Module):
    """A linear layer that one of a family's operators computes."""

    def __init__(self, operators: LinearOperators, operands: Mapping[str, Tensor]) -> None:
        """Hold ``operands`` in the order in which the operators take them."""
        super().__init__()
        self.operators = operators
        self._names = tuple(operands)
        for name, value in operands.items():
            self.register_buffer(name, value)

    @property
    def operands(self) -> tuple[Tensor, ...]:
        """What the operators take."""
        return tuple(self.get_buffer(name) for name in self._names)

    def forward(self, x: Tensor) -> Tensor:
        """[rows, inputs] -> [rows, outputs]."""
        return self.operators.linear(x, *self.operands)


def float_linear(weight: Tensor, bias: Tensor | None) -> FusedLinear:
    """Make a layer of float32 or bfloat16 [outputs, inputs], and [outputs] or None."""
    added = torch.zeros(weight.shape[0]) if bias is None else bias.float()
    return FusedLinear(FLOAT_OPERATORS, {"weight": to_panels(weight), "bias": added})
