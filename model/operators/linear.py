"""The linear operators of the CPU kernels in PyTorch, with weights in panels.

A weight is stored in panels of 16 outputs, [outputs / 16, inputs / n, 16, n]: n is the number of
inputs that one instruction multiplies for each output, 1 in float32, 2 in bfloat16, 4 in 8 bits
(docs/operators.md).

Each type of weights has a family of four operators, which differ in what is fused with the product.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mbert.plugins.operators import OPERATORS

from ..activations import ACTIVATION_FUNCTIONS
from .registration import custom_op

PANEL_OUTPUTS = 16
PANEL_INPUTS = {torch.float32: 1, torch.bfloat16: 2, torch.uint8: 4}


def to_panels(weight: Tensor) -> Tensor:
    """Reorder [outputs, inputs] into panels; both sizes are multiples of 16."""
    outputs, inputs = weight.shape
    together = PANEL_INPUTS[weight.dtype]
    panels = weight.view(outputs // PANEL_OUTPUTS, PANEL_OUTPUTS, inputs // together, together)
    return panels.transpose(1, 2).contiguous()


def from_panels(panels: Tensor) -> Tensor:
    """Invert :func:`to_panels`."""
    groups, steps, columns, together = panels.shape
    return panels.transpose(1, 2).reshape(groups * columns, steps * together)


def interleave(values_then_gates: Tensor) -> Tensor:
    """Reorder [2 * channels, ...] so that panels of values and of their gates alternate."""
    channels = values_then_gates.shape[0] // 2
    panels = values_then_gates.view(
        2, channels // PANEL_OUTPUTS, PANEL_OUTPUTS, *values_then_gates.shape[1:]
    )
    return panels.transpose(0, 1).reshape(values_then_gates.shape)


Operator = Callable[..., Tensor]


@dataclass(frozen=True)
class LinearOperators:
    """The four operators for one type of weights; ``operands`` are weight, ..., bias.

    Attributes:
        linear: (x [tokens, inputs], *operands) -> [tokens, outputs].
        residual_linear: (x, *operands, residual [tokens, outputs]): adds the residual.
        norm_linear: (x, norm_weight [inputs], norm_bias [inputs], *operands, epsilon): of the
            LayerNorm of x.
        norm_gated_linear: (x, norm_weight, norm_bias, *operands, epsilon, activation) ->
            [tokens, outputs / 2]: norm_linear, then activated values times gates, for weights in
            the order of :func:`interleave`; activation is a name of ``ACTIVATION_CODES``.
    """

    linear: Operator
    residual_linear: Operator
    norm_linear: Operator
    norm_gated_linear: Operator

    def __deepcopy__(self, memo: dict[int, Any]) -> LinearOperators:
        """Return self: deep copies share the operator functions."""
        return self


def define_operators(prefix: str, linear: Operator) -> LinearOperators:
    """Register a family as ``torch.ops.mbert.<prefix>linear`` and so on.

    Args:
        prefix: "" or "Quantized", of the names in the table of operators.
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

    def define(name: str, function: Operator, columns: int) -> Operator:
        weight = OPERATORS[f"{prefix}{name}"].input_index("weight") - 1

        def fake(x: Tensor, *rest: Any) -> Tensor:
            return x.new_empty(x.shape[0], rest[weight].shape[0] * columns)

        operator = custom_op(f"{prefix}{name}")(function)
        operator.register_fake(fake)
        return operator

    return LinearOperators(
        define("Linear", linear, PANEL_OUTPUTS),
        define("ResidualLinear", residual_linear, PANEL_OUTPUTS),
        define("NormLinear", norm_linear, PANEL_OUTPUTS),
        define("NormGatedLinear", norm_gated_linear, PANEL_OUTPUTS // 2),
    )


def _linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Round the rows to the type of the weights; sum the products in the type of the rows."""
    rows = x.to(weight.dtype).to(x.dtype) if weight.dtype == torch.bfloat16 else x
    return F.linear(rows, from_panels(weight).to(x.dtype), bias.to(x.dtype))


FLOAT_OPERATORS = define_operators("", _linear)


class FusedLinear(nn.Module):
    """A linear layer that an operator of a family computes."""

    def __init__(self, operators: LinearOperators, operands: Mapping[str, Tensor]) -> None:
        """Hold ``operands`` in the order in which the operators take them."""
        super().__init__()
        self.operators = operators
        self._names = tuple(operands)
        for name, value in operands.items():
            self.register_buffer(name, value)

    @property
    def operands(self) -> tuple[Tensor, ...]:
        """Weight and the other operands, in the operators' order."""
        return tuple(self.get_buffer(name) for name in self._names)

    def forward(self, x: Tensor) -> Tensor:
        """[rows, inputs] -> [rows, outputs]."""
        return self.operators.linear(x, *self.operands)


def float_linear(weight: Tensor, bias: Tensor | None) -> FusedLinear:
    """Make a layer of a float32 or bfloat16 weight [outputs, inputs] and a bias [outputs]."""
    added = torch.zeros(weight.shape[0]) if bias is None else bias.float()
    return FusedLinear(FLOAT_OPERATORS, {"weight": to_panels(weight), "bias": added})
