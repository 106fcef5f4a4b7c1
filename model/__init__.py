"""ModernBERT in PyTorch on packed tokens: the source of every export and its reference."""

from .checkpoint import DEFAULT_CHECKPOINT, Checkpoint, open_checkpoint
from .config import LayerConfig, ModelConfig
from .tasks import TASKS

__all__ = [
    "DEFAULT_CHECKPOINT",
    "TASKS",
    "Checkpoint",
    "LayerConfig",
    "ModelConfig",
    "open_checkpoint",
]
