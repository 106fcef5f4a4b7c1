"""Read checkpoints: a folder or a Hugging Face hub id, and every file in it."""

from .folder import DEFAULT_CHECKPOINT, Checkpoint, open_checkpoint

__all__ = ["DEFAULT_CHECKPOINT", "Checkpoint", "open_checkpoint"]
