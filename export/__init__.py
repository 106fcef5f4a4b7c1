"""Checkpoint to bundle: trace, write, verify."""

from .pipeline import convert

__all__ = ["convert"]
