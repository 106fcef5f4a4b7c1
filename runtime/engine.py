"""The engine: token sequences in, rows of the graph's outputs out. It knows no task."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mbert.errors import BackendError, BundleError, InputError

from .feeds import MASK_POSITIONS, Feeds, complete, feeds_of
from .inputs import check_count
from .manifest import Manifest, TensorSpec
from .packing import PackedBatch, TokenSequence, pack

Array = NDArray[Any]
# One sequence's part of each output: rows of its tokens or masks, or its single row.
Rows = tuple[Array, ...]

# Tokens of a packed batch on a CPU. Enough rows to stream the weights rarely; larger batches spill
# activations out of cache (base size, two cores, 10,000 tokens: 4,096 is 5% slower).
BATCH_TOKENS = 2048
# The same for batches with unattended tokens, whose attention scores are dense over the batch
# (base width, two cores, 64 queries of 32 tokens: 6% faster than 2,048).
_UNATTENDED_BATCH_TOKENS = 512


class Session(Protocol):
    """A loaded model; usable from several threads."""

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Compute the outputs, float32, in the order of the graph.

        Args:
            inputs: by name, as the manifest lists them: ``input_ids`` int32 [tokens],
                ``cu_seqlens`` int32 [sequences + 1] and the task's own.

        Raises:
            BackendError: the backend failed, or the session is closed.
        """
        ...

    def close(self) -> None:
        """Free the model. May be called again, and while calls are running."""
        ...


class Engine:
    """A loaded graph; safe to use from several threads.

    In a forked child a bundle for the CPU opens a session of the child's own, since threads do not
    survive a fork. CUDA does not survive one either, so a bundle for a GPU raises BackendError
    there: start such processes with the "spawn" method.
    """

    def __init__(self, manifest: Manifest, open_session: Callable[[], Session]) -> None:
        """Open the session with ``open_session``; a forked child calls it again."""
        self.manifest = manifest
        self.inputs = frozenset(spec.name for spec in manifest.inputs)
        self._mask = manifest.special_tokens.get("mask", -1)
        self._open = open_session
        self._session: Session | None = open_session()
        self._process = os.getpid()
        # A forked child keeps these and never frees them: their threads exist in the parent only.
        self._inherited: list[Session] = []
        self._changing = threading.Lock()

    def close(self) -> None:
        """Free the session; later calls raise BackendError."""
        with self._changing:
            session, self._session = self._session, None
        if session is None:
            return
        if self._process == os.getpid():
            session.close()
        else:
            self._inherited.append(session)

    @property
    def batch_tokens(self) -> int:
        """Default number of tokens of a packed batch; on a GPU the largest."""
        most = self.manifest.limits.max_tokens
        return min(BATCH_TOKENS, most) if self.manifest.target == "cpu" else most

    def run(
        self, sequences: Sequence[TokenSequence], batch_tokens: int | None = None
    ) -> Iterator[tuple[int, Rows]]:
        """Pack the sequences, run each batch, and yield each sequence's index and rows.

        The order is the packer's. Rows are views into the outputs of their batch: copy what is to
        be kept for long.

        Args:
            sequences: within the bundle's limits and vocabulary.
            batch_tokens: tokens of a packed batch; None: :attr:`batch_tokens`.

        Raises:
            InputError: ``batch_tokens`` is not positive or above the bundle's ``max_tokens``.
            BackendError: the model is closed, or the backend failed.
        """
        for batch in self._batches(sequences, self._check_batch_tokens(batch_tokens)):
            self._check_mask()
            feeds, order = feeds_of(batch, sequences, self.inputs, self._mask)
            parts = [
                self._split(batch, feeds, order, spec, output)
                for spec, output in zip(
                    self.manifest.outputs, self._current().run(feeds), strict=True
                )
            ]
            yield from zip(batch.indices, zip(*parts, strict=True), strict=True)

    def run_packed(self, feeds: Feeds) -> list[Array]:
        """Run the graph once on packed arrays that have been checked.

        Args:
            feeds: ``input_ids`` int32 [tokens], ``cu_seqlens`` int32 [sequences + 1] and any other
                input of the manifest; those that are missing are derived.

        Raises:
            BundleError: the mask token is unknown, and ``mask_positions`` is missing.
            BackendError: the model is closed, or the backend failed.
        """
        if MASK_POSITIONS not in feeds:
            self._check_mask()
        return self._current().run(complete(feeds, self.inputs, self._mask))

    def _batches(self, sequences: Sequence[TokenSequence], tokens: int) -> Iterator[PackedBatch]:
        """Pack the sequences, those with unattended tokens in batches for themselves."""
        limit = self.manifest.limits.max_sequences
        unattended = [i for i, sequence in enumerate(sequences) if sequence.unattended]
        if not unattended:
            yield from pack([sequence.ids for sequence in sequences], tokens, limit)
            return
        others = [i for i, sequence in enumerate(sequences) if not sequence.unattended]
        small = min(tokens, _UNATTENDED_BATCH_TOKENS)
        for indices, most in ((unattended, small), (others, tokens)):
            for batch in pack([sequences[i].ids for i in indices], most, limit):
                yield replace(batch, indices=[indices[i] for i in batch.indices])

    def _current(self) -> Session:
        if self._process != os.getpid():
            self._reopen()
        session = self._session
        if session is None:
            raise BackendError("The model has been closed. Load it again.")
        return session

    def _reopen(self) -> None:
        """Open a forked child's own session, unless another of its threads has."""
        with self._changing:
            if self._process == os.getpid():
                return
            if self._session is not None:
                if self.manifest.target != "cpu":
                    raise BackendError(
                        "The model was loaded before this process was forked, and CUDA does not "
                        'survive a fork. Use the "spawn" start method, or load it in the child.'
                    )
                opened = self._open()
                self._inherited.append(self._session)
                self._session = opened
            # Last: a thread that reads it takes the session without the lock.
            self._process = os.getpid()

    def _check_mask(self) -> None:
        if MASK_POSITIONS in self.inputs and self._mask < 0:
            raise BundleError(
                "The bundle knows no mask token: the checkpoint's tokenizer names none. Call "
                "run_packed with mask_positions."
            )

    def _check_batch_tokens(self, batch_tokens: int | None) -> int:
        if batch_tokens is None:
            return self.batch_tokens
        check_count("batch_tokens", batch_tokens)
        most = self.manifest.limits.max_tokens
        if batch_tokens > most:
            raise InputError(
                f"batch_tokens is {batch_tokens}; the bundle takes up to {most} in one call. "
                "Export with a larger --max-tokens."
            )
        return batch_tokens

    @staticmethod
    def _split(
        batch: PackedBatch,
        feeds: Feeds,
        order: NDArray[np.int64] | None,
        spec: TensorSpec,
        output: Array,
    ) -> Iterable[Array]:
        """Split an output of the batch by sequence, in packed order."""
        rows = spec.shape[0]
        if rows == "sequences":
            return output
        boundaries = batch.cu_seqlens[1:-1]
        if rows == "masks":
            return np.split(output, np.searchsorted(feeds[MASK_POSITIONS], boundaries))
        if order is not None:
            packed = np.empty_like(output)
            packed[order] = output
            output = packed
        return np.split(output, boundaries)
