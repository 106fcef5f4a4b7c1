"""The programs that are compared: one file each, and what they have in common.

Each runs in a process of its own, so a program's libraries are imported only when it is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from numpy.typing import NDArray

if TYPE_CHECKING:  # it imports onnxruntime, which would count as a peer's memory
    from mbert.runtime.packing import Int32Array


class Program(Protocol):
    """A loaded model that computes sequences."""

    @property
    def versions(self) -> dict[str, str]:
        """What it is made of."""
        ...

    def prepare(self, sequences: Sequence[Int32Array], groups: Sequence[Sequence[int]]) -> None:
        """Take the sequences of the runs to come; never timed.

        Args:
            sequences: int32 [length] each.
            groups: the padded batches of a program that pads, as indices into ``sequences``.
        """
        ...

    def run(self) -> Any:
        """Compute all sequences: from ids to the results as a user gets them; timed."""
        ...

    def outputs(self, result: Any) -> list[NDArray[Any]]:
        """Turn what :meth:`run` returned into float32 arrays.

        Returns:
            One for each sequence in the order of ``prepare``: feature-extraction [length, hidden],
            fill-mask [masks, vocab], text-classification [labels], token-classification
            [tokens, labels]. No row of padding.
        """
        ...


@dataclass(frozen=True)
class Source:
    """What a program loads.

    ``path`` is a bundle for mbert, a checkpoint folder for the others; ``threads`` the threads of
    one call.
    """

    path: str
    task: str
    threads: int


MBERT = "mbert"
# Name on the command line -> the module whose `open_program` loads it.
_MODULES = {MBERT: "packed", "pytorch": "pytorch"}
PEERS = tuple(name for name in _MODULES if name != MBERT)


def open_program(name: str, source: Source) -> Program:
    """Load a program in this process.

    Raises:
        MbertError: its libraries are missing, or it cannot load the source.
    """
    opener: Callable[[Source], Program] = import_module(f"{__name__}.{_MODULES[name]}").open_program
    return opener(source)
