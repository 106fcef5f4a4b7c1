"""Bundles behind the interfaces of other libraries."""

from .sentence_transformers import SentenceTransformer

__all__ = ["SentenceTransformer"]
