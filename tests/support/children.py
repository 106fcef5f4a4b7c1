"""Functions for child processes: spawned ones import this module, and no test."""

from __future__ import annotations

import os
from collections.abc import Sequence
from multiprocessing.connection import Connection

import mbert


def embed_in_a_child(model: mbert.Embedder, texts: Sequence[str], connection: Connection) -> None:
    """Send the id of the process and the embeddings of the texts."""
    connection.send((os.getpid(), model.embed(texts)))
    model.close()
