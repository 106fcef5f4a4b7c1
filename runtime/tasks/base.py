"""What every task is made of: the task, its operations, its commands.

A front door (a method, the command line, a server) makes an operation, encodes inputs, lets the
engine run the sequences, and decodes the rows. Batching across callers fits in between.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from mbert.errors import BundleError

from ..engine import Rows
from ..manifest import Limits, Manifest
from ..packing import TokenSequence
from ..tokenization import Tokenizer
from ..windows import resolve_overflow

if TYPE_CHECKING:
    from ..model import Model

Input = TypeVar("Input")
Result = TypeVar("Result")

# A printed line or two for one result, and its JSON object.
Answer = tuple[str, str, dict[str, Any]]


class TaskSettings(Protocol):
    """A task's entry of the manifest, as a dataclass."""

    @classmethod
    def parse(cls, entry: Mapping[str, Any], vocab_size: int, limits: Limits) -> TaskSettings:
        """Check the entry of a manifest.

        Raises:
            KeyError, TypeError, ValueError: a value is missing or out of range.
        """
        ...

    def describe(self) -> Iterator[tuple[str, str]]:
        """Yield name and value of each setting, for ``mbert inspect``."""
        ...


@dataclass(frozen=True)
class Task:
    """One task of Hugging Face's, and what a bundle for it holds.

    Attributes:
        name: Hugging Face's name.
        outputs: outputs of the graph in order, and what their rows are: "tokens", "sequences" or
            "masks".
        model: returns the class that runs a bundle with this manifest.
        settings: the task's settings classes, by their key of the manifest.
        required: the key that no manifest of this task may lack.
        labelled: True if the last dimension of the output is the labels.
    """

    name: str
    outputs: Mapping[str, str]
    model: Callable[[Manifest], type[Model]]
    settings: Mapping[str, type[TaskSettings]] = field(default_factory=dict)
    required: str | None = None
    labelled: bool = False


@dataclass(frozen=True)
class TaskContext:
    """What operations know of the bundle.

    Attributes:
        folder: the bundle's, for messages.
        overflow: the model's default for long texts; None: each task's own.
    """

    folder: Path
    manifest: Manifest
    optional_tokenizer: Tokenizer | None
    overflow: str | None = None

    @property
    def tokenizer(self) -> Tokenizer:
        """The checkpoint's tokenizer.

        Raises:
            BundleError: the checkpoint had no tokenizer.
        """
        if self.optional_tokenizer is None:
            raise BundleError(
                f"{self.folder} has no tokenizer.json, since the checkpoint had none. Pass token "
                "ids to run(), or export a checkpoint that has one."
            )
        return self.optional_tokenizer

    def resolve_overflow(
        self,
        overflow: str | None,
        stride: int | None = None,
        *,
        default: str = "error",
        known: Sequence[str] = ("error", "truncate"),
    ) -> str:
        """Return what to do with long texts: the caller's, the model's or the task's choice."""
        return resolve_overflow(overflow, stride, self.overflow or default, known)


class Operation(ABC, Generic[Input, Result]):
    """One thing that a task does, with its options resolved and checked.

    Operations hold no state between calls: threads may share one.
    """

    def __init__(self, context: TaskContext) -> None:
        """Keep the context. Subclasses check their options here and raise InputError."""
        self.context = context

    @abstractmethod
    def encode(self, inputs: Sequence[Input], first: int = 0) -> list[list[TokenSequence]]:
        """Return each input's sequences; messages number the inputs from ``first``."""

    def reduce(self, rows: Rows, sequence: TokenSequence) -> Any:
        """Return what to keep of one sequence's rows, which are views into a batch's outputs."""
        return rows[0].copy()

    def decode(self, parts: Sequence[Any]) -> Result:
        """Return an input's result from what :meth:`reduce` kept of its sequences."""
        result: Result = parts[0]
        return result

    def collect(self, results: list[Result]) -> Any:
        """Return the results of several inputs together."""
        return results


@dataclass(frozen=True)
class CommandOption:
    """An option of ``mbert run``; ``name`` is the Python keyword.

    It takes one of ``choices``, an integer >= ``minimum``, nothing (``is_flag``), or a text.
    """

    name: str
    help: str
    choices: tuple[str, ...] | None = None
    minimum: int | None = None
    is_flag: bool = False

    @property
    def flag(self) -> str:
        """The name on the command line."""
        return "--" + self.name.replace("_", "-")


@dataclass(frozen=True)
class Command:
    """How ``mbert run`` asks a model for something.

    Attributes:
        answer: called with the model, the texts and the chosen options; yields answers in order.
        options: options that it takes.
        required: an option that it cannot do without, which also selects it among the commands of
            its model. None: the model's first command.
        streams: it answers texts one by one, and takes ``look_ahead``.
    """

    answer: Callable[..., Iterator[Answer]]
    options: tuple[CommandOption, ...]
    required: CommandOption | None = None
    streams: bool = True


TOP_K = CommandOption("top_k", "Number of results for each text.", minimum=1)
PROMPT = CommandOption("prompt", "Name of a prompt, or its text; put in front of each text.")
OVERFLOW = CommandOption(
    "overflow", "What to do with texts that are too long.", choices=("error", "truncate", "window")
)
STRIDE = CommandOption("stride", "Tokens that neighbouring windows share.", minimum=0)


def beside(texts: Iterable[str], answers: Callable[[Iterator[str]], Iterator[Result]]) -> Any:
    """Yield each text with its result; ``answers`` may read texts ahead.

    Returns:
        An iterator of (text, result).
    """
    read: deque[str] = deque()

    def remembered() -> Iterator[str]:
        for text in texts:
            read.append(text)
            yield text

    for result in answers(remembered()):
        yield read.popleft(), result


def exact(values: NDArray[np.float32]) -> list[float]:
    """Return floats for JSON; nine significant digits restore a float32 exactly."""
    return [float(f"{value:.9g}") for value in values]
