"""Multi-vector embeddings (ColBERT): a vector for each token, and scores by MaxSim."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mbert.errors import BundleError, InputError

from ..late_interaction import ROLES, LateInteraction, Terms
from ..packing import Int32Array, PackedBatch, pack
from ..runner import Runner

FloatArray = NDArray[np.float32]

# Tokens of a packed batch in which some are not seen: the scores of those are dense over the batch
# (base width, two cores, 64 queries of 32 tokens: 6% faster than batches of 2,048).
_UNSEEN_BATCH_TOKENS = 512


def embed_multi(
    runner: Runner, texts: Sequence[str], *, role: str, truncate: bool
) -> list[FloatArray]:
    """Compute :meth:`mbert.Model.embed_multi` for several texts."""
    if role not in ROLES:
        raise InputError(f"role is {role!r}; expected one of {', '.join(ROLES)}.")
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(f"Text {i} is a {type(text).__name__}; expected a string, no pair.")
    settings = _settings(runner)
    terms: Terms = getattr(settings, role)
    sequences = _encode(runner, texts, terms, truncate)
    if role == "query" and settings.expansion is not None:
        expansion = settings.expansion
        missing = [max(expansion.length - ids.size, 0) for ids in sequences]
        sequences = [
            np.concatenate((ids, np.full(more, expansion.token, np.int32)))
            for ids, more in zip(sequences, missing, strict=True)
        ]
        if not expansion.attended:
            vectors = _run_unseen(runner, sequences, missing)
            return [_kept(rows, ids, terms) for rows, ids in zip(vectors, sequences, strict=True)]
    return runner.for_each(sequences, lambda i, rows: _kept(rows, sequences[i], terms))


def scores(
    runner: Runner, query: str, documents: Sequence[str], *, truncate: bool
) -> NDArray[np.float64]:
    """MaxSim of a query with each document, [documents]."""
    (asked,) = embed_multi(runner, [query], role="query", truncate=truncate)
    found = embed_multi(runner, documents, role="document", truncate=truncate)
    sums = np.array([maxsim(asked, vectors) for vectors in found], np.float64)
    return sums / max(asked.shape[0], 1) if _settings(runner).mean else sums


def maxsim(query: FloatArray, document: FloatArray) -> float:
    """Sum over the query's vectors of the largest product with one of the document's.

    Late interaction of Khattab and Zaharia 2020 (arXiv 2004.12832, eq. 3). A document without
    vectors is below every other one.
    """
    if document.shape[0] == 0:
        return -np.inf
    return float((query @ document.T).max(axis=1).sum(dtype=np.float64))


def lay_out(
    batch: PackedBatch, unseen: Int32Array
) -> tuple[NDArray[np.int64], dict[str, Int32Array]]:
    """Move the tokens that nothing attends to behind all sequences.

    Args:
        batch: sequences that end with such tokens.
        unseen: int32 [sequences], how many of each.

    Returns:
        The batch's rows in their new order, and the inputs of the graph (docs/bundle.md):
        ``input_ids``, ``cu_seqlens`` of the sequences without them, ``expansions``, ``seen``.
    """
    lengths = np.diff(batch.cu_seqlens)
    sequence = np.repeat(np.arange(lengths.size), lengths)
    position = np.arange(sequence.size) - batch.cu_seqlens[sequence]
    is_own = position < (lengths - unseen)[sequence]
    order = np.argsort(~is_own, kind="stable")
    own = np.count_nonzero(is_own)
    places = np.stack((np.arange(order.size), sequence[order], position[order]), axis=1)
    places = places.astype(np.int32)
    cu_seqlens = np.zeros(lengths.size + 1, np.int32)
    np.cumsum(lengths - unseen, out=cu_seqlens[1:])
    return order, {
        "input_ids": batch.input_ids[order],
        "cu_seqlens": cu_seqlens,
        "expansions": np.ascontiguousarray(places[own:, 1:]),
        # Whoever has no such token is seen by none.
        "seen": places[:own][unseen[places[:own, 1]] > 0],
    }


def _settings(runner: Runner) -> LateInteraction:
    settings = runner.manifest.late_interaction
    if settings is None:
        raise BundleError(
            "The bundle says nothing of queries and documents, since the checkpoint had no "
            "tokenizer.json. Export a checkpoint that has one."
        )
    return settings


def _encode(runner: Runner, texts: Sequence[str], terms: Terms, truncate: bool) -> list[Int32Array]:
    """Tokenize, and put the prefix behind the first token."""
    added = np.array([] if terms.prefix is None else [terms.prefix], np.int32)
    prompted = [terms.prompt + text for text in texts]
    sequences = runner.tokenizer.encode(prompted, truncate, longest=terms.length, added=added.size)
    return runner.checked(np.concatenate((ids[:1], added, ids[1:])) for ids in sequences)


def _run_unseen(
    runner: Runner, sequences: Sequence[Int32Array], missing: Sequence[int]
) -> list[Any]:
    """Run sequences whose last tokens, ``missing`` of each, nothing attends to."""
    results: dict[int, FloatArray] = {}
    most = min(runner.batch_tokens, _UNSEEN_BATCH_TOKENS)
    for batch in pack(sequences, most, runner.manifest.limits.max_sequences):
        unseen = np.array([missing[i] for i in batch.indices], np.int32)
        order, inputs = lay_out(batch, unseen)
        (output,) = runner.run(inputs)
        vectors = np.empty_like(output)
        vectors[order] = output
        for i, rows in zip(batch.indices, np.split(vectors, batch.cu_seqlens[1:-1]), strict=True):
            results[i] = rows
    return [results[i] for i in range(len(sequences))]


def _kept(rows: FloatArray, ids: Int32Array, terms: Terms) -> FloatArray:
    """A copy of the vectors of a sequence's tokens without those that are skipped."""
    return rows[~np.isin(ids, terms.skipped)]
