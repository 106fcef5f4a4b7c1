"""Embeddings: one vector for each sequence, pooled from the packed hidden states."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mbert.errors import InputError

from ..packing import Int32Array
from ..progress import progress_bar
from ..runner import Runner
from ..tokenization import Text
from ..windows import settle_overflow

FloatArray = NDArray[np.float32]

POOLINGS = ("cls", "mean")


@dataclass(frozen=True)
class Options:
    """The options of :meth:`mbert.Model.embed`, settled and checked."""

    pooling: str
    normalize: bool
    overflow: str
    stride: int | None


def settle(
    runner: Runner,
    method: str,
    *,
    pooling: str | None,
    normalize: bool,
    truncate: bool,
    overflow: str,
    stride: int | None,
) -> Options:
    """Settle on the options of ``method``.

    Raises:
        InputError: the bundle is for another task; an option that is unknown, or contradicts
            another.
    """
    runner.need("feature-extraction", method)
    return Options(
        check_pooling(pooling, runner.manifest.pooling),
        normalize,
        settle_overflow(overflow, truncate),
        stride,
    )


def embed(
    runner: Runner,
    texts: Sequence[Text],
    options: Options,
    *,
    progress: bool = False,
    first: int = 0,
) -> FloatArray:
    """Compute :meth:`mbert.Model.embed` for several texts; messages number them from ``first``."""
    windows = runner.windows(texts, overflow=options.overflow, stride=options.stride, first=first)
    vectors = np.zeros((len(windows.ids), runner.manifest.model["hidden_size"]), np.float32)
    tokens = sum(ids.size for ids in windows.ids)
    with progress_bar(progress, tokens) as advance:
        for batch, (hidden,) in runner.batches(windows.ids):
            vectors[batch.indices] = pool(hidden, batch.cu_seqlens, options.pooling)
            advance(batch.input_ids.size)
    merged = windows.merged(vectors)
    return normalized(merged) if options.normalize else merged


def embed_iter(
    runner: Runner, texts: Iterable[Text], options: Options, look_ahead: int, *, progress: bool
) -> Iterator[FloatArray]:
    """Compute :meth:`mbert.Model.embed_iter`."""
    total = len(texts) if isinstance(texts, Sized) else None
    source = iter(texts)
    first = 0
    with progress_bar(progress, total) as advance:
        while block := list(itertools.islice(source, look_ahead)):
            vectors = embed(runner, block, options, first=first)
            advance(len(block))
            first += len(block)
            for vector in vectors:
                yield vector.copy()  # a view would keep the whole block alive


def check_pooling(asked: str | None, default: str | None) -> str:
    """Settle on a pooling.

    Raises:
        InputError: an unknown name, or neither an asked nor a default one.
    """
    pooling = asked or default
    if pooling is None:
        raise InputError(
            "The checkpoint pools in a way that this bundle does not carry (see its modules.json). "
            f"Pass pooling= one of {', '.join(POOLINGS)} if that is what you want."
        )
    if pooling not in POOLINGS:
        raise InputError(f"pooling is {pooling!r}; expected one of {', '.join(POOLINGS)}.")
    return pooling


def pool(hidden: FloatArray, cu_seqlens: Int32Array, pooling: str) -> FloatArray:
    """[tokens, hidden] -> [sequences, hidden]; no sequence may be empty."""
    if pooling == "cls":
        return hidden[cu_seqlens[:-1]]
    sums = np.add.reduceat(hidden, cu_seqlens[:-1], axis=0, dtype=np.float64)
    return (sums / np.diff(cu_seqlens)[:, None]).astype(np.float32)


def normalized(vectors: FloatArray) -> FloatArray:
    """Scale each row to length 1; a row of zeros stays."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: FloatArray = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
    return scaled
