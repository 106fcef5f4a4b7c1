"""Sparse embeddings (SPLADE): the tokens of the vocabulary that a text is about, with weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..inputs import check_top_k
from ..runner import Runner
from ..tokenization import Text
from .embedding import after_prompt, settle_prompt


@dataclass(frozen=True)
class SparseEmbedding:
    """The weights of a text that are not zero.

    Attributes:
        indices: int32 [active], token ids, rising.
        values: float32 [active], the weight of each.
    """

    indices: NDArray[np.int32]
    values: NDArray[np.float32]


@dataclass(frozen=True)
class TokenWeight:
    """A token, as the vocabulary spells it ("Ġriver"), and its weight."""

    token: str
    token_id: int
    weight: float


def embed_sparse(
    runner: Runner,
    texts: Sequence[Text],
    *,
    prompt: str | None,
    top_k: int | None,
    truncate: bool,
) -> list[SparseEmbedding]:
    """Compute :meth:`mbert.Model.embed_sparse` for several texts."""
    check_top_k(top_k)
    own = runner.manifest.embedding
    if top_k is None and own is not None:
        top_k = own.active
    chosen = settle_prompt(prompt, own)
    sequences = runner.encode([after_prompt(chosen, text) for text in texts], truncate)
    return runner.for_each(sequences, lambda _, weights: sparse(weights, top_k))


def sparse(weights: NDArray[np.float32], top_k: int | None) -> SparseEmbedding:
    """[vocab] -> its entries that are not zero, the ``top_k`` largest of them."""
    active = np.flatnonzero(weights)
    if top_k is not None and active.size > top_k:
        largest = np.argpartition(-weights[active], top_k - 1)[:top_k]
        active = np.sort(active[largest])
    return SparseEmbedding(active.astype(np.int32), weights[active].astype(np.float32))


def token_weights(
    runner: Runner, embedding: SparseEmbedding, top_k: int | None
) -> list[TokenWeight]:
    """Compute :meth:`mbert.Model.token_weights`."""
    check_top_k(top_k)
    order = np.argsort(-embedding.values, kind="stable")[:top_k]
    return [
        TokenWeight(runner.tokenizer.spelling(int(i)), int(i), float(weight))
        for i, weight in zip(embedding.indices[order], embedding.values[order], strict=True)
    ]
