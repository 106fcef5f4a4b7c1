"""A dense ModernBERT in float64, written from the definition: the tests' oracle.

It shares no code with mbert or transformers, and takes one sequence at a time. Each of
:data:`MUTANTS` changes it at the place of a likely mistake.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

MUTANTS = (
    "window + 1",
    "window - 1",
    "wrong theta",
    "swapped thetas",
    "tanh gelu",
    "swapped geglu halves",
    "norm in layer 0",
)

_ACTIVATIONS = {
    "gelu": lambda x: 0.5 * x * (1 + torch.erf(x / math.sqrt(2))),
    "gelu_pytorch_tanh": lambda x: (
        0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    ),
    "silu": lambda x: x / (1 + torch.exp(-x)),
    "relu": lambda x: x.clamp(min=0),
}


def attention(
    qkv: NDArray[Any],
    cu_seqlens: NDArray[Any],
    rope: NDArray[Any],
    num_heads: int,
    scale: float,
    window: int,
    rows: NDArray[Any] | None = None,
) -> NDArray[np.float64]:
    """Compute VarlenAttention in float64, for ``rows`` or all; other rows are 0."""
    tokens, head_dim = qkv.shape[0], rope.shape[1]
    context = np.zeros((tokens, num_heads * head_dim))
    rows = np.arange(tokens) if rows is None else rows
    for begin, end in itertools.pairwise(cu_seqlens):
        part = torch.from_numpy(np.asarray(qkv[begin:end], np.float64))
        table = torch.from_numpy(np.asarray(rope[: end - begin], np.float64))
        own = rows[(rows >= begin) & (rows < end)]
        result = _attend(part, table, num_heads, scale, window, torch.from_numpy(own - begin))
        context[own] = result.numpy()
    return context


def _attend(
    qkv: Tensor,
    table: Tensor,
    num_heads: int,
    scale: float,
    window: int,
    rows: Tensor | None = None,
) -> Tensor:
    length, head_dim = qkv.shape[0], table.shape[1]
    rows = torch.arange(length) if rows is None else rows
    q, k, v = (
        part.reshape(length, num_heads, head_dim).transpose(0, 1)
        for part in qkv.split(num_heads * head_dim, dim=1)
    )
    half = head_dim // 2
    # As complex numbers: pair (x_i, x_{i + D/2}) times exp(i angle).
    turn = torch.complex(table[:, :half], table[:, half:])
    q, k = (
        torch.view_as_real(torch.complex(x[..., :half], x[..., half:]) * turn)
        .movedim(-1, -2)
        .reshape(num_heads, length, head_dim)
        for x in (q, k)
    )
    scores = torch.einsum("hid,hjd->hij", q[:, rows], k) * scale
    if window >= 0:
        scores[:, (rows[:, None] - torch.arange(length)).abs() > window] = -math.inf
    weights = torch.softmax(scores, dim=-1)
    return torch.einsum("hij,hjd->ihd", weights, v).reshape(len(rows), num_heads * head_dim)


@dataclass
class DenseModernBert:
    """The model of a transformers config and state dict, in float64.

    ``mutant`` names the mistake to make; "" for none.
    """

    config: Any
    state: dict[str, Tensor]
    mutant: str = ""
    tables: dict[Any, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.state = {
            (
                name
                if name.startswith(("model.", "head.", "decoder.", "classifier."))
                else f"model.{name}"
            ): t
            for name, t in self.state.items()
        }
        self.state = {name: tensor.double() for name, tensor in self.state.items()}

    def hidden(self, ids: NDArray[Any]) -> Tensor:
        """Return the hidden states after the final norm, [length, hidden]."""
        c = self.config
        x = self.state["model.embeddings.tok_embeddings.weight"][torch.as_tensor(ids).long()]
        x = self._norm(x, "model.embeddings.norm")
        for i, kind in enumerate(c.layer_types):
            name = f"model.layers.{i}"
            normed = x
            if i > 0:
                normed = self._norm(x, f"{name}.attn_norm")
            elif self.mutant == "norm in layer 0":
                normed = torch.nn.functional.layer_norm(x, x.shape[-1:], eps=c.norm_eps)
            qkv = self._linear(normed, f"{name}.attn.Wqkv")
            window = -1
            if kind == "sliding_attention":
                window = c.local_attention // 2
                window += {"window + 1": 1, "window - 1": -1}.get(self.mutant, 0)
            head_dim = c.hidden_size // c.num_attention_heads
            table = self._table(self._theta(kind), head_dim, len(ids))
            context = _attend(qkv, table, c.num_attention_heads, head_dim**-0.5, window)
            x = x + self._linear(context, f"{name}.attn.Wo")
            wi = self._linear(self._norm(x, f"{name}.mlp_norm"), f"{name}.mlp.Wi")
            value, gate = wi[:, : c.intermediate_size], wi[:, c.intermediate_size :]
            if self.mutant == "swapped geglu halves":
                value, gate = gate, value
            x = x + self._linear(self._act(value, c.hidden_activation) * gate, f"{name}.mlp.Wo")
        return self._norm(x, "model.final_norm")

    def fill_mask(self, ids: NDArray[Any]) -> Tensor:
        """Return the logits of each token, [length, vocab]."""
        features = self._head(self.hidden(ids))
        decoder = "decoder" if "decoder.weight" in self.state else "model.embeddings.tok_embeddings"
        logits = features @ self.state[f"{decoder}.weight"].T
        return logits + self.state["decoder.bias"] if self.config.decoder_bias else logits

    def classify(self, ids: NDArray[Any]) -> Tensor:
        """Return the logits of the labels, [labels]."""
        hidden = self.hidden(ids)
        pooled = hidden[:1] if self.config.classifier_pooling == "cls" else hidden.mean(0)[None]
        return self._linear(self._head(pooled), "classifier")[0]

    def tag(self, ids: NDArray[Any]) -> Tensor:
        """Return the logits of each token, [length, labels]."""
        return self._linear(self._head(self.hidden(ids)), "classifier")

    def answer(self, ids: NDArray[Any]) -> Tensor:
        """Return the logits of an answer's start and end, [length, 2]."""
        return self._linear(self._head(self.hidden(ids)), "classifier")

    def _theta(self, kind: str) -> float:
        if self.mutant == "swapped thetas":
            kind = {"full_attention": "sliding_attention", "sliding_attention": "full_attention"}[
                kind
            ]
        theta = self.config.rope_parameters[kind]["rope_theta"]
        return theta * 1.01 if self.mutant == "wrong theta" else theta

    def _table(self, theta: float, head_dim: int, length: int) -> Tensor:
        # Frequencies and angles in float32, as in transformers.
        exponent = torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim
        angle = torch.arange(length, dtype=torch.float32)[:, None] * (1.0 / theta**exponent)
        return torch.cat((angle.cos(), angle.sin()), dim=1).double()

    def _head(self, x: Tensor) -> Tensor:
        dense = self._linear(x, "head.dense")
        return self._norm(self._act(dense, self.config.classifier_activation), "head.norm")

    def _act(self, x: Tensor, activation: str) -> Tensor:
        if self.mutant == "tanh gelu":
            assert activation == "gelu"
            activation = "gelu_pytorch_tanh"
        return _ACTIVATIONS[activation](x)

    def _linear(self, x: Tensor, name: str) -> Tensor:
        y = x @ self.state[f"{name}.weight"].T
        return y + self.state[f"{name}.bias"] if f"{name}.bias" in self.state else y

    def _norm(self, x: Tensor, name: str) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        y = centred / torch.sqrt((centred**2).mean(-1, keepdim=True) + self.config.norm_eps)
        y = y * self.state[f"{name}.weight"]
        return y + self.state[f"{name}.bias"] if f"{name}.bias" in self.state else y
