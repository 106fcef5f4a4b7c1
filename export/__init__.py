"""Checkpoint to bundle: trace, write, verify."""

from .convert import convert

__all__ = ["convert"]
