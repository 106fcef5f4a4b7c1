"""Split a packed batch into calls of an engine, pad them to buckets, and join their outputs.

An engine has ranges of sizes, and compiles kernels or graphs for each size that it meets, so every
size is rounded up to a bucket. Engines have one of two signatures: packed inputs, or inputs for
global attention over padded groups (docs/engines.md).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mbert.errors import InputError

from ...manifest import Engine, TensorSpec, symbols_of
from ...packing import Int32Array
from .profiles import bucket_count, bucket_length, round_up, shape_at

Feeds = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Call:
    """One run of the engine.

    Attributes:
        profile: index of the engine's profile to use.
        sizes: value of each symbol in the signature, rounded up to its bucket.
        feeds: the engine's inputs, of those sizes.
        rows: indices of the batch's output rows, for each kind of rows ("tokens", ...).
    """

    profile: int
    sizes: dict[str, int]
    feeds: Feeds
    rows: dict[str, NDArray[np.int64]]

    def rows_of(self, output: TensorSpec) -> NDArray[np.int64]:
        """Return the batch's rows of ``output``; further rows of the engine are padding."""
        return self.rows[str(output.shape[0])]


@dataclass(frozen=True)
class _Part:
    """Neighbouring sequences of the batch, some of their masked tokens, and a profile for them."""

    profile: int
    input_ids: Int32Array
    cu_seqlens: Int32Array
    masks: Int32Array
    counted_rows: Int32Array
    counted_offsets: Int32Array
    first_token: int
    first_sequence: int
    mask_rows: NDArray[np.int64]


def plan(
    batch: Mapping[str, Int32Array],
    engine: Engine,
    inputs: Sequence[TensorSpec],
    rows: Collection[str],
) -> Iterator[Call]:
    """Yield the calls that compute ``batch``.

    Args:
        batch: ``input_ids`` int32 [tokens], ``cu_seqlens`` int32 [sequences + 1] and the
            other inputs of the signature (docs/bundle.md); already checked.
        engine: its profiles and granularity.
        inputs: the engine's signature.
        rows: kinds of rows that the outputs have: "tokens", "sequences" or "masks".

    Raises:
        InputError: a sequence longer than any profile takes.
    """
    symbols = symbols_of(inputs)
    for part in _split(batch, engine, symbols):
        every = {
            "tokens": part.first_token + np.arange(part.input_ids.size),
            "sequences": part.first_sequence + np.arange(part.cu_seqlens.size - 1),
            "masks": part.mask_rows,
        }
        result_rows = {kind: every[kind] for kind in rows}
        if not any(indices.size for indices in result_rows.values()):
            continue
        sizes = _sizes(part, engine)
        feeds = _packed_feeds(part, sizes)
        if "length" in symbols:
            feeds |= _padded_feeds(part.cu_seqlens, sizes)
        ordered = {spec.name: feeds[spec.name] for spec in inputs}
        yield Call(part.profile, sizes, ordered, result_rows)


def compute(
    batch: Mapping[str, Int32Array],
    engine: Engine,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    run: Callable[[Call], Sequence[NDArray[Any]]],
) -> list[NDArray[np.float32]]:
    """Run the calls of ``batch`` and put their rows together, in float32, for each output.

    Rows of slack tokens, and of masks on them, are zeros.

    Args:
        batch: as in :func:`plan`.
        engine: as in :func:`plan`.
        inputs: as in :func:`plan`.
        outputs: the engine's.
        run: computes one call; its arrays, in the order of ``outputs``, have the rows that count,
            and may have padding after them. They are read before the next call.

    Raises:
        InputError: as in :func:`plan`.
    """
    counts = {
        "tokens": batch["input_ids"].size,
        "sequences": batch["cu_seqlens"].size - 1,
        "masks": batch.get("mask_positions", np.zeros(0)).size,
    }
    computed = [np.zeros(shape_at(output, counts), np.float32) for output in outputs]
    for call in plan(batch, engine, inputs, {str(output.shape[0]) for output in outputs}):
        for output, whole, values in zip(outputs, computed, run(call), strict=True):
            rows = call.rows_of(output)
            whole[rows] = values[: rows.size]
    return computed


def _split(batch: Mapping[str, Int32Array], engine: Engine, symbols: set[str]) -> Iterator[_Part]:
    """As many neighbouring sequences as a profile holds, then the next ones."""
    offsets = batch["cu_seqlens"]
    masks = batch.get("mask_positions", np.zeros(0, np.int32))
    counted = batch.get("counted_offsets", np.zeros_like(offsets))
    counted_rows = batch.get("counted_rows", np.zeros(0, np.int32))
    first = 0
    while first < offsets.size - 1:
        count, profile = _reach(offsets[first:], engine, symbols)
        last = first + count
        begin, end = int(offsets[first]), int(offsets[last])
        if count == 0:
            raise InputError(
                f"Sequence {first} has {offsets[first + 1] - begin} tokens, more than the engine "
                "was built for. Export with a larger --max-sequence-length."
            )
        rows = np.flatnonzero((masks >= begin) & (masks < end))
        # A signature without masks needs one part only.
        step = engine.profiles[profile].ranges.get("masks", (0, 0, max(rows.size, 1)))[2]
        for at in range(0, max(rows.size, 1), step):
            chosen = rows[at : at + step]
            yield _Part(
                profile,
                batch["input_ids"][begin:end],
                offsets[first : last + 1] - offsets[first],
                masks[chosen] - begin,
                counted_rows[counted[first] : counted[last]] - begin,
                counted[first : last + 1] - counted[first],
                begin,
                first,
                chosen,
            )
        first = last


def _reach(offsets: Int32Array, engine: Engine, symbols: set[str]) -> tuple[int, int]:
    """How many sequences from the first on one profile holds, and the smallest such profile."""
    # Every size grows with the number of sequences, so what fits is a beginning. (Masks are cut.)
    longest = np.maximum.accumulate(np.diff(offsets))
    counts = np.arange(1, offsets.size)
    sizes = _counted(offsets[1:] - offsets[0], counts, longest, np.ones_like(counts), engine)
    held = [
        int(
            np.logical_and.reduce(
                [sizes[symbol] <= profile.ranges[symbol][2] for symbol in symbols]
            ).sum()
        )
        for profile in engine.profiles
    ]
    return max(held), held.index(max(held))


def _sizes(part: _Part, engine: Engine) -> dict[str, int]:
    """Every size of a call: rounded up to its bucket, within its profile."""
    lengths = np.diff(part.cu_seqlens)
    counted = _counted(part.input_ids.size, lengths.size, lengths.max(), part.masks.size, engine)
    sizes = {}
    for symbol, (least, _, most) in engine.profiles[part.profile].ranges.items():
        size = int(counted[symbol])
        if symbol in ("tokens", "length"):
            rounded = bucket_length(size, engine.tokens_multiple)
        else:
            rounded = bucket_count(size)
        sizes[symbol] = min(max(rounded, least), most)
    return sizes


def _counted(
    tokens: Any, sequences: Any, longest: Any, masks: Any, engine: Engine
) -> dict[str, Any]:
    """Sizes, numbers or arrays, that an engine can take: not empty, and tokens in multiples."""
    multiple = engine.tokens_multiple
    return {
        "tokens": round_up(np.maximum(tokens, 1), multiple),
        "sequences": sequences,
        "masks": np.maximum(masks, 1),
        "groups": sequences,
        "length": round_up(np.maximum(longest, 1), multiple),
    }


def _packed_feeds(part: _Part, sizes: dict[str, int]) -> Feeds:
    """Slack tokens have id 0; slack sequences are empty; slack masks point to the first token."""
    feeds: Feeds = {"input_ids": _extended(part.input_ids, sizes["tokens"], 0)}
    if "sequences" in sizes:
        end = part.cu_seqlens[-1]
        feeds["cu_seqlens"] = _extended(part.cu_seqlens, sizes["sequences"] + 1, end)
        end = part.counted_offsets[-1]
        feeds["counted_rows"] = _extended(part.counted_rows, sizes["tokens"], 0)
        feeds["counted_offsets"] = _extended(part.counted_offsets, sizes["sequences"] + 1, end)
    if "masks" in sizes:
        feeds["mask_positions"] = _extended(part.masks, sizes["masks"], 0)
    return feeds


def _padded_feeds(cu_seqlens: Int32Array, sizes: dict[str, int]) -> Feeds:
    """Map each token to its position and its place in a padded group, and back (docs/engines.md).

    ``positions`` int32 [tokens], ``pad_index`` int32 [groups, length], ``unpad_index`` int32
    [tokens], ``key_mask`` bool [groups, 1, 1, length].
    """
    tokens, groups, length = sizes["tokens"], sizes["groups"], sizes["length"]
    real = int(cu_seqlens[-1])
    lengths = np.diff(cu_seqlens)
    sequence = np.repeat(np.arange(lengths.size), lengths)
    offset = np.arange(real) - np.repeat(cu_seqlens[:-1], lengths)
    # Slack counts as one more sequence: its tokens see each other, and nobody sees them.
    positions = np.concatenate((offset, np.arange(tokens - real)))
    pad_index = np.zeros((groups, length), np.int32)
    pad_index[sequence, offset] = np.arange(real)
    key_mask = np.zeros((groups, 1, 1, length), np.bool_)
    key_mask[sequence, 0, 0, offset] = True
    # A softmax over nothing would be NaN.
    key_mask[~key_mask.any(axis=(1, 2, 3)), :, :, 0] = True
    return {
        "positions": positions.astype(np.int32),
        "pad_index": pad_index,
        "unpad_index": _extended((sequence * length + offset).astype(np.int32), tokens, 0),
        "key_mask": key_mask,
    }


def _extended(values: Int32Array, size: int, fill: int) -> Int32Array:
    extended = np.full(size, fill, np.int32)
    extended[: values.size] = values
    return extended
