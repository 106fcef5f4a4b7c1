"""The encoder with each of the heads that transformers has for ModernBERT."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from ..activations import ACTIVATION_FUNCTIONS
from ..families.modernbert import Encoder, layer_norm
from ..families.modernbert_config import ModelConfig
from ..operators.pooling import varlen_pooling


class PredictionHead(nn.Module):
    """norm(activation(dense(x))): the part that all heads share."""

    def __init__(self, config: ModelConfig) -> None:
        """Make the modules for ``config``."""
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size, bias=config.classifier_bias)
        self.activation = ACTIVATION_FUNCTIONS[config.classifier_activation]
        self.norm = layer_norm(config)

    def forward(self, x: Tensor) -> Tensor:
        """[rows, hidden] -> [rows, hidden]."""
        return self.norm(self.activation(self.dense(x)))


class EncoderOnly(nn.Module):
    """The encoder alone."""

    def __init__(self, config: ModelConfig) -> None:
        """Make the modules for ``config``."""
        super().__init__()
        self.model = Encoder(config)

    def forward(self, input_ids: Tensor, cu_seqlens: Tensor) -> Tensor:
        """-> last_hidden_state [tokens, hidden]."""
        return self.model(input_ids, cu_seqlens)


class MaskedLM(nn.Module):
    """Vocabulary logits of the masked tokens only."""

    def __init__(self, config: ModelConfig) -> None:
        """Make the modules for ``config``."""
        super().__init__()
        self.model = Encoder(config)
        self.head = PredictionHead(config)
        self.decoder = nn.Linear(config.hidden_size, config.vocab_size, bias=config.decoder_bias)
        self.tie_weights = config.tie_word_embeddings

    def forward(self, input_ids: Tensor, cu_seqlens: Tensor, mask_positions: Tensor) -> Tensor:
        """mask_positions: int32 [masks], rows of the packed tokens -> logits [masks, vocab]."""
        hidden = self.model(input_ids, cu_seqlens)
        # Clamped like every gather, so that device code never reads outside the rows.
        positions = mask_positions.clamp(0, hidden.shape[0] - 1)
        return self.decoder(self.head(F.embedding(positions, hidden)))


class SequenceClassification(nn.Module):
    """The head and a classifier on each sequence, pooled by ``classifier_pooling``."""

    def __init__(self, config: ModelConfig) -> None:
        """Make the modules for ``config``."""
        super().__init__()
        self.model = Encoder(config)
        self.head = PredictionHead(config)
        self.classifier = nn.Linear(config.hidden_size, len(config.id2label))
        self.pooling = config.classifier_pooling

    def forward(self, input_ids: Tensor, cu_seqlens: Tensor) -> Tensor:
        """-> logits [sequences, labels]."""
        hidden = self.model(input_ids, cu_seqlens)
        return self.classifier(self.head(varlen_pooling(hidden, cu_seqlens, self.pooling)))


class TokenClassification(nn.Module):
    """The head and a classifier on every token."""

    def __init__(self, config: ModelConfig) -> None:
        """Make the modules for ``config``."""
        super().__init__()
        self.model = Encoder(config)
        self.head = PredictionHead(config)
        self.classifier = nn.Linear(config.hidden_size, len(config.id2label))

    def forward(self, input_ids: Tensor, cu_seqlens: Tensor) -> Tensor:
        """-> logits [tokens, labels]."""
        return self.classifier(self.head(self.model(input_ids, cu_seqlens)))


class QuestionAnswering(nn.Module):
    """Start and end logits of an answer: the head and two columns on every token."""

    def __init__(self, config: ModelConfig) -> None:
        """Make the modules for ``config``."""
        super().__init__()
        self.model = Encoder(config)
        self.head = PredictionHead(config)
        self.classifier = nn.Linear(config.hidden_size, 2)

    def forward(self, input_ids: Tensor, cu_seqlens: Tensor) -> tuple[Tensor, Tensor]:
        """-> start_logits [tokens], end_logits [tokens]."""
        logits = self.classifier(self.head(self.model(input_ids, cu_seqlens)))
        return logits[:, 0], logits[:, 1]
