"""Embeddings: one vector for each text, from the graph or pooled from the hidden states."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mbert.errors import InputError

from ..manifest import Embedding, Manifest, Reranking
from ..packing import Int32Array
from ..progress import progress_bar
from ..runner import Runner
from ..tokenization import Text
from ..windows import settle_overflow
from .quantization import needs_ranges, quantized, settle_ranges

FloatArray = NDArray[np.float32]

POOLINGS = ("cls", "mean")


@dataclass(frozen=True)
class Options:
    """The options of :meth:`mbert.Model.embed`, settled and checked.

    ``pooling``: of hidden states; None where the graph gives the vectors.
    """

    prompt: str
    pooling: str | None
    dimensions: int | None
    normalize: bool
    output: str
    ranges: FloatArray | None
    overflow: str
    stride: int | None


def settle(
    runner: Runner,
    method: str,
    *,
    prompt: str | None,
    pooling: str | None,
    dimensions: int | None,
    normalize: bool | None,
    output: str,
    ranges: ArrayLike | None,
    calibration: ArrayLike | None,
    truncate: bool,
    overflow: str,
    stride: int | None,
) -> Options:
    """Settle on the options of ``method``.

    Raises:
        InputError: the bundle is for another task; an option that is unknown, or contradicts
            another.
    """
    runner.need(("feature-extraction", "sentence-similarity"), method)
    width, own = width_of(runner.manifest), runner.manifest.embedding
    if own is None:
        pooling = check_pooling(pooling, runner.manifest.pooling)
    elif pooling is not None:
        raise InputError(
            f"pooling is {pooling!r}; a sentence-similarity bundle pools as its checkpoint does. "
            "For another pooling export it with --task feature-extraction."
        )
    wanted = range(1, width + 1)
    if dimensions is not None and not (isinstance(dimensions, int) and dimensions in wanted):
        raise InputError(f"dimensions is {dimensions!r}; expected 1 to {width}.")
    return Options(
        prompt=settle_prompt(prompt, own),
        pooling=pooling,
        dimensions=dimensions or (own.dimensions if own else None),
        normalize=(own is None or own.normalized) if normalize is None else normalize,
        output=output,
        ranges=settle_ranges(output, ranges, calibration),
        overflow=settle_overflow(overflow, truncate, stride),
        stride=stride,
    )


class PromptText(str):
    """What is put in front of a text, settled: never taken for the name of a prompt."""


def settle_prompt(prompt: str | None, settings: Embedding | Reranking | None) -> str:
    """What is put in front of each text.

    Args:
        prompt: a name of the checkpoint's or the text itself, of which a :class:`PromptText` is
            always the second; None: the checkpoint's default.
        settings: the manifest's; None: it has none.

    Raises:
        InputError: no text; a word that looks like a name, and is none of the checkpoint's.
    """
    known = settings.prompts if settings else {}
    if prompt is None:
        default = settings.default_prompt if settings else None
        return "" if default is None else known[default]
    if not isinstance(prompt, str):
        raise InputError(f"prompt is {prompt!r}; expected a name or a text.")
    if isinstance(prompt, PromptText):
        return prompt
    if prompt in known:
        return known[prompt]
    if re.fullmatch(r"[\w-]+", prompt):
        raise InputError(
            f"prompt is {prompt!r}; the bundle's prompts are {', '.join(known) or 'none'}. To put "
            "a text in front, pass it whole, with the space that it ends in."
        )
    return prompt


def width_of(manifest: Manifest) -> int:
    """Dimensions of a vector as the model makes it."""
    return int(manifest.outputs[0].shape[-1])


def embed(
    runner: Runner,
    texts: Sequence[Text],
    options: Options,
    *,
    progress: bool = False,
    first: int = 0,
) -> NDArray[Any]:
    """Compute :meth:`mbert.Model.embed` for several texts; messages number them from ``first``."""
    windows = runner.windows(
        [after_prompt(options.prompt, text) for text in texts],
        overflow=options.overflow,
        stride=options.stride,
        first=first,
        prompt=len(options.prompt),
    )
    skipped = None
    if options.prompt and runner.excludes_prompt:
        skipped = np.full(len(windows.ids), runner.prompt_length(options.prompt), np.int32)
    vectors = np.zeros((len(windows.ids), width_of(runner.manifest)), np.float32)
    tokens = sum(ids.size for ids in windows.ids)
    with progress_bar(progress, tokens) as advance:
        for batch, (found,) in runner.batches(windows.ids, skipped):
            if options.pooling is not None:
                found = pool(found, batch.cu_seqlens, options.pooling)
            vectors[batch.indices] = found
            advance(batch.input_ids.size)
    kept = windows.merged(vectors)[:, : options.dimensions]
    if options.normalize:
        kept = normalized(kept)
    return quantized(kept, options.output, options.ranges)


def after_prompt(prompt: str, text: Text) -> Text:
    """The text with the prompt in front of it; of a pair, in front of the first."""
    if not prompt:
        return text
    if isinstance(text, tuple) and text and isinstance(text[0], str):
        return (prompt + text[0], *text[1:])
    return prompt + text if isinstance(text, str) else text  # to be refused as it is


def embed_iter(
    runner: Runner, texts: Iterable[Text], options: Options, look_ahead: int, *, progress: bool
) -> Iterator[NDArray[Any]]:
    """Compute :meth:`mbert.Model.embed_iter`.

    Raises:
        InputError: no ranges for an output that needs some: those of a block are no other's.
    """
    if needs_ranges(options.output) and options.ranges is None:
        raise InputError(
            f"output is {options.output!r}; embed_iter sees a part of the texts at a time and "
            "takes no range from them. Pass ranges= or calibration=."
        )
    return _blocks(runner, texts, options, look_ahead, progress=progress)


def _blocks(
    runner: Runner, texts: Iterable[Text], options: Options, look_ahead: int, *, progress: bool
) -> Iterator[NDArray[Any]]:
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
