"""What child processes run: a spawned one imports this module, and none of a test."""

from __future__ import annotations

import os
from collections.abc import Sequence
from multiprocessing.connection import Connection

import mbert


def embed_in_a_child(model: mbert.Embedder, texts: Sequence[str], connection: Connection) -> None:
    """Send the process's id and the texts' vectors."""
    connection.send((os.getpid(), model.embed(texts)))
    model.close()
