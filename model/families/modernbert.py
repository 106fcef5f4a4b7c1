"""The ModernBERT encoder on packed tokens.

Module and parameter names are those of the published checkpoints, so that weights load by name.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..activations import ACTIVATION_FUNCTIONS
from ..operators.attention import rope_table, varlen_attention
from .modernbert_config import ModelConfig
from .query_expansion import ExpansionTokens


def layer_norm(config: ModelConfig) -> nn.LayerNorm:
    """Make a LayerNorm over the hidden channels, with a bias if the config has one."""
    return nn.LayerNorm(config.hidden_size, eps=config.norm_eps, bias=config.norm_bias)


class Embeddings(nn.Module):
    """Token embedding and its norm, without positions, which attention rotates in."""

    def __init__(self, config: ModelConfig) -> None:
        """Make the modules for ``config``."""
        super().__init__()
        self.vocab_size = config.vocab_size
        # The export may replace it by a quantized embedding.
        self.tok_embeddings: nn.Module = nn.Embedding(config.vocab_size, config.hidden_size)
        self.norm = layer_norm(config)

    def forward(self, input_ids: Tensor) -> Tensor:
        """int32 [tokens] -> [tokens, hidden]."""
        # The runtime refuses ids out of range; the clamp keeps device code inside the table.
        return self.norm(self.tok_embeddings(input_ids.clamp(0, self.vocab_size - 1)))


def attend(
    qkv: Tensor,
    cu_seqlens: Tensor,
    rope: Tensor,
    attributes: tuple[int, float, int],
    expansion: ExpansionTokens | None,
) -> Tensor:
    """Compute packed attention, and that of expansion tokens, if any.

    ``attributes`` are num_heads, scale and window of VarlenAttention.
    """
    context = varlen_attention(qkv, cu_seqlens, rope, *attributes)
    if expansion is None:
        return context
    expanded = expansion.attend(qkv, rope, *attributes)
    return torch.cat((context[: qkv.shape[0] - expanded.shape[0]], expanded))


class Attention(nn.Module):
    """Packed self-attention: the fused projection, VarlenAttention, the output projection."""

    def __init__(self, config: ModelConfig, window: int) -> None:
        """Make the modules for ``config``; ``window`` as in VarlenAttention."""
        super().__init__()
        hidden = config.hidden_size
        self.num_heads = config.num_attention_heads
        self.scale = config.head_dim**-0.5
        self.window = window
        self.Wqkv = nn.Linear(hidden, 3 * hidden, bias=config.attention_bias)
        self.Wo = nn.Linear(hidden, hidden, bias=config.attention_bias)

    def forward(
        self, x: Tensor, cu_seqlens: Tensor, rope: Tensor, expansion: ExpansionTokens | None = None
    ) -> Tensor:
        """[tokens, hidden] -> [tokens, hidden]."""
        attributes = (self.num_heads, self.scale, self.window)
        return self.Wo(attend(self.Wqkv(x), cu_seqlens, rope, attributes, expansion))


class Mlp(nn.Module):
    """GeGLU: the first half of ``Wi`` is activated, the second is the gate."""

    def __init__(self, config: ModelConfig) -> None:
        """Make the modules for ``config``."""
        super().__init__()
        self.Wi = nn.Linear(config.hidden_size, 2 * config.intermediate_size, bias=config.mlp_bias)
        self.Wo = nn.Linear(config.intermediate_size, config.hidden_size, bias=config.mlp_bias)
        self.activation = ACTIVATION_FUNCTIONS[config.hidden_activation]

    def forward(self, x: Tensor) -> Tensor:
        """[tokens, hidden] -> [tokens, hidden]."""
        value, gate = self.Wi(x).chunk(2, dim=-1)
        return self.Wo(self.activation(value) * gate)


class Layer(nn.Module):
    """Pre-norm attention and MLP, each with a residual; layer 0 has no attention norm."""

    def __init__(self, config: ModelConfig, index: int) -> None:
        """Make layer ``index`` of ``config``."""
        super().__init__()
        self.attn_norm = nn.Identity() if index == 0 else layer_norm(config)
        self.attn = Attention(config, config.layers[index].window)
        self.mlp_norm = layer_norm(config)
        self.mlp = Mlp(config)

    def forward(
        self, x: Tensor, cu_seqlens: Tensor, rope: Tensor, expansion: ExpansionTokens | None = None
    ) -> Tensor:
        """[tokens, hidden] -> [tokens, hidden]."""
        x = x + self.attn(self.attn_norm(x), cu_seqlens, rope, expansion)
        return x + self.mlp(self.mlp_norm(x))


class Encoder(nn.Module):
    """Embeddings, layers and the final norm, on packed sequences."""

    def __init__(self, config: ModelConfig) -> None:
        """Make the modules for ``config``."""
        super().__init__()
        self.embeddings = Embeddings(config)
        self.layers = nn.ModuleList(Layer(config, i) for i in range(len(config.layers)))
        self.final_norm = layer_norm(config)
        # One table for each theta; layers with the same theta share it.
        self.thetas = sorted({layer.theta for layer in config.layers})
        self.table_of_layer = [self.thetas.index(layer.theta) for layer in config.layers]
        with torch.device("cpu"):  # has values even if the parameters are on the meta device
            for i, theta in enumerate(self.thetas):
                table = rope_table(config.head_dim, theta, config.max_position_embeddings)
                self.register_buffer(f"rope_{i}", table, persistent=False)

    def forward(
        self, input_ids: Tensor, cu_seqlens: Tensor, expansion: ExpansionTokens | None = None
    ) -> Tensor:
        """int32 [tokens], int32 [sequences + 1] -> [tokens, hidden]."""
        x = self.embeddings(input_ids)
        for layer, table in zip(self.layers, self.table_of_layer, strict=True):
            x = layer(x, cu_seqlens, self.get_buffer(f"rope_{table}"), expansion)
        return self.final_norm(x)
