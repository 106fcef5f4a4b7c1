"""The workloads: named sets of token sequences, the same on every machine."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mbert.errors import InputError

if TYPE_CHECKING:  # it imports onnxruntime, which a machine that only runs bench/gpu lacks
    from mbert.runtime.packing import Int32Array

SEED = 0
# The ids that every vocabulary is asked for: below and above lie special and unused tokens.
LOWEST_ID = 5
HIGHEST_ID = 50_000


@dataclass(frozen=True)
class Workload:
    """A set of sequences, and how a program that pads groups them.

    Attributes:
        name: as in tables and on the command line.
        description: what it stands for, in one line.
        draw: makes the lengths, in tokens, with the generator that then makes the ids.
        peer_batch: sequences in one padded batch of a program that pads; None: all in one.
        peer_sorted: such a program sorts by length before it forms batches.
        quick: measured by default; the others take minutes on two cores.
    """

    name: str
    description: str
    draw: Callable[[np.random.Generator], Sequence[int]]
    peer_batch: int | None = None
    peer_sorted: bool = False
    quick: bool = True

    @property
    def lengths(self) -> list[int]:
        """Tokens of each sequence."""
        return [int(length) for length in self.draw(np.random.default_rng(SEED))]

    def sequences(self, ordinary: Int32Array, mask: int | None = None) -> list[Int32Array]:
        """Make the sequences.

        Args:
            ordinary: the ids to draw from, uniformly; see :func:`ordinary_ids`.
            mask: for fill-mask the id of the mask token: the middle of each sequence is masked, so
                that there is something to predict.

        Returns:
            int32 [length] each, the same at every call.
        """
        generator = np.random.default_rng(SEED)
        made = []
        for length in self.draw(generator):
            ids = ordinary[generator.integers(0, len(ordinary), int(length))]
            if mask is not None:
                ids[len(ids) // 2] = mask
            made.append(ids)
        return made


def _fixed(count: int, length: int) -> Callable[[np.random.Generator], Sequence[int]]:
    return lambda generator: [length] * count


def _whole(drawn: NDArray[np.float64], low: int, high: int) -> list[int]:
    return [int(length) for length in np.clip(drawn, low, high)]


def _mixed(sigma: float) -> Callable[[np.random.Generator], Sequence[int]]:
    return lambda generator: _whole(generator.lognormal(math.log(100), sigma, 32), 8, 512)


def _around_256(generator: np.random.Generator) -> Sequence[int]:
    return _whole(generator.normal(256, 64, 256), 16, 512)


def _around_4096(generator: np.random.Generator) -> Sequence[int]:
    return _whole(generator.normal(4096, 1024, 16), 16, 8192)


# In the order in which they are measured: small ones first, since allocators keep what they took.
WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("W1-16", "one sequence of 16 tokens", _fixed(1, 16)),
        Workload("W1-128", "one sequence of 128 tokens", _fixed(1, 128)),
        Workload("W2", "32 sequences of mixed lengths, 8 to 512", _mixed(0.8)),
        Workload("W2s", "W2, sorted into batches of 8 for the peer", _mixed(0.8), 8, True),
        Workload("W3", "8 sequences of 512 tokens", _fixed(8, 512)),
        Workload("W4-2048", "one sequence of 2,048 tokens", _fixed(1, 2048)),
        Workload("W4-8192", "one sequence of 8,192 tokens", _fixed(1, 8192), quick=False),
        # Batches that a user could form in order of arrival; one of 256 needs gigabytes.
        Workload(
            "W5-256",
            "256 sequences of N(256, 64) tokens, batches of 32 for the peer",
            _around_256,
            32,
            quick=False,
        ),
        Workload(
            "W5-4096",
            "16 sequences of N(4096, 1024) tokens, batches of 4 for the peer",
            _around_4096,
            4,
            quick=False,
        ),
        # W2 with other spreads of its lengths: what packing gains.
        Workload("W6-0", "32 sequences of 100 tokens", _fixed(32, 100), quick=False),
        Workload("W6-40", "W2 with half its spread of lengths", _mixed(0.4), quick=False),
        Workload("W6-120", "W2 with one and a half times its spread", _mixed(1.2), quick=False),
    )
}


def choose(names: str | None) -> list[Workload]:
    """Pick workloads.

    Args:
        names: comma-separated, or "all"; None: the quick ones.

    Returns:
        The chosen ones in the order of :data:`WORKLOADS`.

    Raises:
        InputError: an unknown name, or none at all.
    """
    if names is None:
        return [workload for workload in WORKLOADS.values() if workload.quick]
    wanted = {name.strip() for name in names.split(",") if name.strip()}
    if wanted == {"all"}:
        return list(WORKLOADS.values())
    unknown = sorted(wanted - set(WORKLOADS))
    if unknown or not wanted:
        raise InputError(
            f"No such workload: {', '.join(unknown) or repr(names)}. Expected some of "
            f"{', '.join(WORKLOADS)}, with commas between them, or all."
        )
    return [workload for name, workload in WORKLOADS.items() if name in wanted]


def ordinary_ids(vocab_size: int, special: Collection[int]) -> Int32Array:
    """List the ids that stand for text: int32, ascending.

    For ModernBERT-base's vocabulary of 50,368 these are 5 to 49,999.
    """
    ids = np.arange(LOWEST_ID, min(HIGHEST_ID, vocab_size), dtype=np.int32)
    ids = ids[~np.isin(ids, list(special))]
    if not ids.size:
        raise InputError(
            f"The vocabulary has {vocab_size} tokens; the workloads draw from those from "
            f"{LOWEST_ID} on that are not special, and there is none."
        )
    return ids


def batches(lengths: Sequence[int], size: int | None, by_length: bool) -> list[list[int]]:
    """Group sequences into padded batches: lists of indices into ``lengths``."""
    order = list(range(len(lengths)))
    if by_length:
        order.sort(key=lambda i: -lengths[i])
    step = size or len(order)
    return [order[start : start + step] for start in range(0, len(order), step)]


def padded_tokens(lengths: Sequence[int], groups: Sequence[Sequence[int]]) -> int:
    """Count the tokens that a program computes when it pads each batch to its longest."""
    return sum(len(group) * max(lengths[i] for i in group) for group in groups)
