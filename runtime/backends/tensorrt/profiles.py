"""Optimisation profiles: the ranges of sizes that an engine is built for; how sizes are rounded.

Sizes go by the symbols of the graph's signature: tokens, sequences, masks and, where global
attention is padded (docs/engines.md), groups and length.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ...manifest import Limits, Profile, TensorSpec

# An engine has a separate profile for latency, for calls up to this many tokens.
LATENCY_TOKENS = 512
_LATENCY_GROUPS = 8
# A profile takes lengths from a quarter of its longest, so padding adds at most three rows a token.
_LENGTH_STEP = 4
_LEAST_LENGTH = 128
# Logits of one call at the most, as a part of its tokens; more masks take more calls.
_TOKENS_PER_MASK = 4


def profiles_for(
    symbols: Collection[str], limits: Limits, multiple: int = 1
) -> tuple[Profile, ...]:
    """Profiles for a signature with ``symbols``, smallest first.

    The first is for latency. Where attention is padded there follows one for each class of lengths,
    a factor of four apart, so that the padded rows, and with them the memory, stay within four
    times ``max_tokens``. Batches are filled: the best size of the others is the largest.

    Args:
        symbols: those of the graph's inputs.
        limits: the largest call.
        multiple: what tokens and lengths are a multiple of.
    """
    most = round_up(limits.max_tokens, multiple)
    small = min(round_up(LATENCY_TOKENS, multiple), most)
    longest = round_up(limits.max_sequence_length, multiple)
    sizes = [("latency", small, min(_LATENCY_GROUPS, limits.max_sequences), min(longest, small))]
    if "length" in symbols:
        for length in _length_classes(longest):
            length = round_up(length, multiple)
            groups = min(max(1, _LENGTH_STEP * most // length), limits.max_sequences)
            sizes.append((f"length-{length}", most, groups, length))
    else:
        sizes.append(("throughput", most, limits.max_sequences, longest))
    return tuple(
        _profile(name, symbols, multiple, tokens, sequences, length)
        for name, tokens, sequences, length in sizes
    )


def shape_at(spec: TensorSpec, sizes: Mapping[str, int]) -> tuple[int, ...]:
    """The shape of an input or output; a dimension is a number, a symbol or ``symbol + number``."""
    return tuple(_dimension(dimension, sizes) for dimension in spec.shape)


def bucket_length(size: int, multiple: int) -> int:
    """Round tokens or lengths up to one of few values, so that compiled kernels are met again.

    Four values for each power of two: beyond ``multiple``, at most a quarter is added. All are
    multiples of it.
    """
    units = -(-size // multiple)
    step = 1 << max(0, (units - 1).bit_length() - 3)
    return round_up(units, step) * multiple


def bucket_count(size: int) -> int:
    """The same for sequences, groups and masks, which cost less: above 4, powers of two."""
    return size if size <= 4 else 1 << (size - 1).bit_length()


def round_up(size: int, multiple: int) -> int:
    """The smallest multiple of ``multiple`` that is at least ``size``."""
    return -(-size // multiple) * multiple


def _dimension(dimension: int | str, sizes: Mapping[str, int]) -> int:
    if isinstance(dimension, int):
        return dimension
    symbol, _, more = dimension.partition(" + ")
    return sizes[symbol] + int(more or 0)


def _length_classes(longest: int) -> list[int]:
    classes = [longest]
    while classes[0] >= _LENGTH_STEP * _LEAST_LENGTH:
        classes.insert(0, classes[0] // _LENGTH_STEP)
    return classes


def _profile(
    name: str, symbols: Collection[str], multiple: int, tokens: int, sequences: int, length: int
) -> Profile:
    latency = name == "latency"
    counted = (1, 1 if latency else max(1, min(sequences, tokens // length)), sequences)
    best = min(bucket_length(128, multiple), tokens) if latency else tokens
    masks = max(1, tokens // _TOKENS_PER_MASK)
    ranges = {
        "tokens": (multiple, best, tokens),
        "sequences": counted,
        "masks": (1, 1 if latency else max(1, masks // 16), masks),
        "groups": counted,
        "length": (multiple, min(best, length), length),
    }
    return Profile(name, {symbol: ranges[symbol] for symbol in ranges if symbol in symbols})
