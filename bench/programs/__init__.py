"""The programs that are compared: one file each, and what they have in common.

Each runs in a process of its own, so a program's libraries are imported only when it is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from numpy.typing import NDArray

from mbert.errors import InputError

if TYPE_CHECKING:  # it imports onnxruntime, which would count as a peer's memory
    from mbert.runtime.packing import Int32Array

# The precision whose programs may differ by rounding only.
EXACT = "fp32"


class Program(Protocol):
    """A loaded model that computes sequences."""

    @property
    def versions(self) -> dict[str, str]:
        """What it is made of, and how it was set where that is not plain."""
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
            One for each sequence in the order of ``prepare``, without rows of padding: [length,
            values], [masks, values] or [values], by :attr:`Source.rows`.
        """
        ...


@dataclass(frozen=True)
class Source:
    """What a program loads.

    Attributes:
        path: a bundle, checkpoint or model, as :attr:`ProgramKind.loads` says.
        architecture: transformers' class that computes the bundle's outputs; None: no class does.
        rows: what the bundle's outputs have a row for: "tokens", "masks" or "sequences".
        precision: what the program computes in.
        threads: threads of one call.
    """

    path: str
    architecture: str | None
    rows: str
    precision: str
    threads: int


@dataclass(frozen=True)
class ProgramKind:
    """A program that can be named on the command line.

    Attributes:
        module: of this package, whose ``open_program`` loads it.
        loads: :data:`BUNDLE`, :data:`CHECKPOINT`, or a key of
            :data:`mbert.bench.peer_models.MAKERS`: a model made from the checkpoint.
        precision: what the products of its linear layers are computed in.
        score_copies: arrays of the size of a batch's attention scores, float32 [batch, heads,
            length, length], that it holds at once, as observed at 2,048 tokens; 0: none.
    """

    module: str
    loads: str
    precision: str = EXACT
    score_copies: int = 0


MBERT = "mbert"
BUNDLE = "bundle"
CHECKPOINT = "checkpoint"
PEERS = {
    "pytorch": ProgramKind("pytorch", CHECKPOINT),
    "onnxruntime": ProgramKind("padded_onnx", "padded-onnx", score_copies=4),
    "openvino": ProgramKind("openvino_ir", "openvino", score_copies=1),
    "openvino-bf16": ProgramKind("openvino_ir", "openvino", "bf16", score_copies=1),
    "onnxruntime-int8": ProgramKind("padded_onnx", "padded-onnx-int8", "int8", score_copies=4),
    "openvino-int8": ProgramKind("openvino_ir", "openvino-int8", "int8", score_copies=1),
}


def choose_peers(names: str | None) -> list[str]:
    """Pick peers.

    Args:
        names: comma-separated, or "all"; None: no peers.

    Returns:
        Keys of :data:`PEERS`, in its order.

    Raises:
        InputError: an unknown name, or none at all.
    """
    if names is None:
        return []
    if names.strip() == "all":
        return list(PEERS)
    wanted = {name.strip() for name in names.split(",") if name.strip()}
    unknown = sorted(wanted - set(PEERS))
    if unknown or not wanted:
        raise InputError(
            f"No such program to compare with: {', '.join(unknown) or repr(names)}. Expected some "
            f"of {', '.join(PEERS)}, with commas between them, or all."
        )
    return [name for name in PEERS if name in wanted]


def open_program(module: str, source: Source) -> Program:
    """Load a program in this process.

    Args:
        module: as :attr:`ProgramKind.module`.
        source: what it loads.

    Raises:
        MbertError: its libraries are missing, or it cannot load the source.
    """
    opener: Callable[[Source], Program] = import_module(f"{__name__}.{module}").open_program
    return opener(source)
