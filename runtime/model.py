"""The base class of all models: a loaded bundle."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set, Sized
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict, TypeVar, overload

import numpy as np
from numpy.typing import ArrayLike

from mbert.errors import InputError

from .engine import Array, Engine
from .inputs import (
    as_sequence,
    check_count,
    check_counted,
    check_packed,
    check_packed_input,
    check_sequences,
)
from .manifest import Manifest
from .packing import Int32Array, TokenSequence
from .progress import progress_bar
from .tasks.base import Command, Operation, TaskContext
from .tokenization import Text

if TYPE_CHECKING:
    from typing_extensions import Self

_Input = TypeVar("_Input")
_Result = TypeVar("_Result")

# The most inputs that an iterator packs together.
LOOK_AHEAD = 1024


class CallOptions(TypedDict, total=False):
    """Options of every call.

    ``batch_tokens``: tokens of a packed batch; None: 2,048 on a CPU, the bundle's largest on a
    GPU. ``progress``: show a progress bar on standard error if that is a terminal.
    """

    batch_tokens: int | None
    progress: bool


class Model:
    """A loaded bundle: what every task has. Safe to use from several threads.

    A context manager that closes the model. :func:`mbert.load` returns the subclass for the
    bundle's task. A pickled or copied model is loaded again from its folder; see
    :class:`mbert.runtime.engine.Engine` for what a fork does.
    """

    commands: ClassVar[tuple[Command, ...]] = ()
    # What its calls can do with texts that are too long.
    overflows: ClassVar[tuple[str, ...]] = ("error", "truncate")

    def __init__(self, context: TaskContext, engine: Engine, reload: Callable[[], Model]) -> None:
        """Run ``engine``; :func:`mbert.load` calls this. ``reload`` must pickle."""
        self.context = context
        self.engine = engine
        self._reload = reload

    @classmethod
    def load(cls, bundle: str | os.PathLike[str], **options: Any) -> Self:
        """Load a bundle as this class: :func:`mbert.load` with a precise type.

        Checkpoints are not exported here.

        Args:
            bundle: a folder written by ``mbert-export``.
            options: ``threads``, ``device``, ``overflow`` and ``kernels`` of :func:`mbert.load`.

        Raises:
            InputError: the bundle is for another class; and as :func:`mbert.load`.
        """
        from .loading import load

        model = load(bundle, **options)
        if not isinstance(model, cls):
            task, found = model.task, type(model).__name__
            model.close()
            raise InputError(
                f"{os.fspath(bundle)} is a {task} bundle, which {found} runs; expected one for "
                f"{cls.__name__}. Export the checkpoint with another --task, or use {found}."
            )
        return model

    @property
    def info(self) -> Manifest:
        """The manifest: task, shape, limits, labels, verification record."""
        return self.context.manifest

    @property
    def task(self) -> str:
        """The bundle's task, by Hugging Face's name."""
        return self.info.task

    @property
    def dimension(self) -> int:
        """Size of the last dimension of a result's array: vector, labels or vocabulary."""
        return self.info.width

    def __repr__(self) -> str:
        """Show class, folder, task, target, precision and dimension."""
        info = self.info
        return (
            f"{type(self).__name__}({str(self.context.folder)!r}, task={info.task!r}, "
            f"target={info.target!r}, precision={info.precision!r}, dimension={self.dimension})"
        )

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Say which class has a method that this one lacks."""
            owners = [cls.__name__ for cls in _subclasses(Model) if name in vars(cls)]
            hint = f"; it belongs to {' and '.join(owners)}" if owners else ""
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {name!r}{hint}. The bundle's "
                "task decides the class."
            )

    def __reduce__(self) -> tuple[Callable[[], Model], tuple[()]]:
        """Pickle the folder and the options: unpickling loads the bundle again."""
        return self._reload, ()

    def __enter__(self) -> Self:
        """Return the model."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the model."""
        self.close()

    def close(self) -> None:
        """Free the model; later calls that compute raise BackendError."""
        self.engine.close()

    def warm_up(self) -> None:
        """Run once at the packed batch size, so that the first call is as fast as the rest."""
        limits = self.info.limits
        length = min(limits.max_sequence_length, 128)
        count = max(1, min(self.engine.batch_tokens // length, limits.max_sequences))
        feeds = {
            "input_ids": np.zeros(length * count, np.int32),
            "cu_seqlens": np.arange(count + 1, dtype=np.int32) * length,
        }
        if "mask_positions" in self.engine.inputs:
            feeds["mask_positions"] = np.arange(count, dtype=np.int32)
        self.engine.run_packed(feeds)

    @overload
    def tokenize(self, texts: str) -> Int32Array: ...  # type: ignore[overload-overlap]
    @overload
    def tokenize(self, texts: Iterable[Text]) -> list[Int32Array]: ...
    def tokenize(self, texts: str | Iterable[Text]) -> Int32Array | list[Int32Array]:
        """Return token ids, special tokens included; texts may be of any length.

        Prompts and query expansion are not part of it.

        Args:
            texts: one text, or several texts or pairs.

        Returns:
            For each text int32 [tokens]. For a single string, that string's.

        Raises:
            InputError: a value that is not a text.
            BundleError: the checkpoint had no tokenizer.
        """
        if isinstance(texts, str):
            return self.context.tokenizer.ids([texts])[0]
        return self.context.tokenizer.ids(as_sequence(texts, "texts"))

    @overload
    def count_tokens(self, texts: str) -> int: ...  # type: ignore[overload-overlap]
    @overload
    def count_tokens(self, texts: Iterable[Text]) -> list[int]: ...
    def count_tokens(self, texts: str | Iterable[Text]) -> int | list[int]:
        """Count the tokens of each text, as :meth:`tokenize` returns them."""
        if isinstance(texts, str):
            return self.tokenize(texts).size
        return [ids.size for ids in self.tokenize(texts)]

    def run(self, sequences: Iterable[ArrayLike], *, batch_tokens: int | None = None) -> list[Any]:
        """Run id sequences, packed, and return each one's part of the graph's output.

        Args:
            sequences: a list or array of token ids each, special tokens included.
            batch_tokens: tokens of a packed batch; None: :attr:`Engine.batch_tokens`.

        Returns:
            For each sequence an array, float32, in input order: its rows of an output by tokens
            ([length, ...]) or by masks ([masks, vocab]), or its one row of an output by sequences.
            With several outputs a dict of arrays by name. docs/bundle.md lists the outputs.

        Raises:
            InputError: an empty or over-long sequence, or an id outside the vocabulary.
        """
        checked = check_sequences(sequences, self.info.vocab_size, self.info.limits)
        results: list[Any] = [None] * len(checked)
        for i, rows in self.engine.run([TokenSequence(ids) for ids in checked], batch_tokens):
            # A view would keep the whole batch's output alive.
            results[i] = self._by_name([row.copy() for row in rows])
        return results

    def run_packed(
        self, input_ids: ArrayLike, cu_seqlens: ArrayLike, **inputs: ArrayLike | None
    ) -> Any:
        """Run arrays that are packed already, in one call of the graph.

        Args:
            input_ids: integers [tokens]; rows past ``cu_seqlens[-1]`` are slack.
            cu_seqlens: integers [sequences + 1], cumulative lengths starting at 0.
            inputs: the graph's other inputs by name (``info.inputs``, docs/bundle.md), such as
                ``mask_positions``, integers [masks]: rows whose logits are wanted. None or absent:
                every mask token, no excluded prompt, no query expansion.

        Returns:
            The graph's output, float32; with several outputs a dict of arrays by name.

        Raises:
            InputError: arrays that break the contract above, or an input that the graph lacks.
        """
        limits = self.info.limits
        ids, offsets = check_packed(input_ids, cu_seqlens, self.info.vocab_size, limits)
        feeds = {"input_ids": ids, "cu_seqlens": offsets}
        specs = {spec.name: spec for spec in self.info.inputs if spec.name not in feeds}
        for name, value in inputs.items():
            if name not in specs:
                raise InputError(
                    f"{name} is not an input of this {self.task} bundle; its inputs beside "
                    f"input_ids and cu_seqlens are {', '.join(specs) or '(none)'}."
                )
            if value is not None:
                feeds[name] = check_packed_input(
                    specs[name], value, ids.size, offsets.size - 1, limits.max_sequence_length
                )
        check_counted(feeds)
        return self._by_name(self.engine.run_packed(feeds))

    def apply(
        self,
        operation: Operation[_Input, _Result],
        inputs: Sequence[_Input],
        *,
        batch_tokens: int | None = None,
        progress: bool = False,
        first: int = 0,
    ) -> Any:
        """Run an operation on several inputs, the sequences of all packed together.

        Returns:
            What the operation's ``collect`` makes of the results, in input order.
        """
        groups = operation.encode(inputs, first)
        sequences = list(itertools.chain.from_iterable(groups))
        parts: list[Any] = [None] * len(sequences)
        total = sum(sequence.ids.size for sequence in sequences)
        with progress_bar(progress, total) as advance:
            for i, rows in self.engine.run(sequences, batch_tokens):
                parts[i] = operation.reduce(rows, sequences[i])
                advance(sequences[i].ids.size)
        ordered = iter(parts)
        return operation.collect(
            [operation.decode(list(itertools.islice(ordered, len(group)))) for group in groups]
        )

    def apply_iter(
        self,
        operation: Operation[_Input, _Result],
        inputs: Iterable[_Input],
        *,
        look_ahead: int = LOOK_AHEAD,
        batch_tokens: int | None = None,
        progress: bool = False,
    ) -> Iterator[Any]:
        """Run an operation on any number of inputs, in bounded memory.

        Inputs are read in blocks, when their results are due. The first block is one input, and
        each is twice as large as the previous one, up to ``look_ahead``: the first result comes at
        once.

        Raises:
            InputError: ``inputs`` is one text, a mapping or a set.
        """
        if isinstance(inputs, str | bytes | Mapping | Set) or not isinstance(inputs, Iterable):
            raise InputError(f"Expected several inputs, found a {type(inputs).__name__}.")
        check_count("look_ahead", look_ahead)
        return self._blocks(operation, inputs, look_ahead, batch_tokens, progress)

    def _stream(
        self,
        operation: Callable[..., Operation[Any, Any]],
        inputs: Iterable[Any],
        look_ahead: int,
        options: Mapping[str, Any],
    ) -> Iterator[Any]:
        """Run :meth:`apply_iter` with the options of a call and of its operation mixed."""
        call = {name: options[name] for name in CallOptions.__annotations__ if name in options}
        own = {name: value for name, value in options.items() if name not in call}
        return self.apply_iter(
            operation(self.context, **own), inputs, look_ahead=look_ahead, **call
        )

    def _blocks(
        self,
        operation: Operation[_Input, _Result],
        inputs: Iterable[_Input],
        look_ahead: int,
        batch_tokens: int | None,
        progress: bool,
    ) -> Iterator[Any]:
        source = iter(inputs)
        first, size = 0, 1
        with progress_bar(progress, len(inputs) if isinstance(inputs, Sized) else None) as advance:
            while block := list(itertools.islice(source, size)):
                results = self.apply(operation, block, batch_tokens=batch_tokens, first=first)
                advance(len(block))
                first += len(block)
                size = min(2 * size, look_ahead)
                for result in results:
                    # A view would keep the whole block alive.
                    view = isinstance(result, np.ndarray) and result.base is not None
                    yield result.copy() if view else result

    def _apply_to_texts(
        self,
        operation: Operation[Any, Any],
        texts: str | Iterable[Text],
        batch_tokens: int | None,
        progress: bool,
    ) -> Any:
        """Return the results of several texts; for a single string, its result."""
        if isinstance(texts, str):
            return self.apply(operation, [texts], batch_tokens=batch_tokens)[0]
        several = as_sequence(texts, "texts")
        return self.apply(operation, several, batch_tokens=batch_tokens, progress=progress)

    def _by_name(self, outputs: Sequence[Array]) -> Any:
        """Return the only output, or several by name."""
        if len(outputs) == 1:
            return outputs[0]
        return {spec.name: array for spec, array in zip(self.info.outputs, outputs, strict=True)}


def _subclasses(base: type) -> Iterator[type]:
    subclasses: list[type] = base.__subclasses__()
    for subclass in subclasses:
        yield subclass
        yield from _subclasses(subclass)
