"""The programs that still take part in a workload, and why the others do not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from mbert.errors import MbertError

from .agreement import Agreement, Outputs, compare
from .errors import BenchError
from .memory import available_bytes
from .program_process import ProgramProcess

_FLOAT32_BYTES = 4
T = TypeVar("T")


class Comparison:
    """Send commands to all programs of a workload.

    A peer that fails is left out and noted in ``failures``; a bundle that fails is an error.
    """

    def __init__(self, programs: Sequence[ProgramProcess]) -> None:
        """Start with all programs.

        Args:
            programs: the programs, bundles first.
        """
        self._programs = {program.spec.name: program for program in programs}
        self.failures: dict[str, str] = {}

    @property
    def names(self) -> list[str]:
        """Names of the programs that take part."""
        return [name for name in self._programs if name not in self.failures]

    def leave_out_too_large(self, heads: int, batches: Sequence[Sequence[int]]) -> None:
        """Leave out the peers whose attention scores do not fit into memory.

        Args:
            heads: attention heads of the model.
            batches: lengths of the sequences of each padded batch.
        """
        scores = max(len(lengths) * max(lengths) ** 2 for lengths in batches)
        available = available_bytes()
        for name in self.names:
            copies = self._programs[name].spec.kind.score_copies
            needed = copies * scores * heads * _FLOAT32_BYTES
            if needed > available:
                self.failures[name] = (
                    f"it was not run: its attention scores take about {needed / 1e9:.1f} GB, "
                    f"{available / 1e9:.1f} GB are free"
                )

    def load(self) -> None:
        """Reload the programs whose process has ended since the last workload."""
        for name in self.names:
            self._attempt(name, lambda program: program.load())

    def ask(self, command: str, **arguments: Any) -> dict[str, dict[str, Any]]:
        """Send a command to one program after the other; return the replies by name."""
        replies = {name: self.ask_one(name, command, **arguments) for name in self.names}
        return {name: reply for name, reply in replies.items() if reply is not None}

    def ask_one(self, name: str, command: str, **arguments: Any) -> dict[str, Any] | None:
        """Send a command to one program; return None if it is left out."""
        return self._attempt(name, lambda program: program.ask(command, **arguments))

    def agreements(self, workload: str, scratch: Path) -> dict[str, Agreement]:
        """Run every program once and compare its outputs with a reference.

        The reference is the first program in float32, or else the first of all.

        Args:
            workload: for messages.
            scratch: folder for the outputs.

        Returns:
            For each program but the reference, by name.

        Raises:
            BenchError: the bundles disagree, or programs that all compute in float32.
        """
        outputs = {}
        for name in self.names:
            path = scratch / f"{name}.float32"
            reply = self.ask_one(name, "write_outputs", path=str(path))
            if reply is not None:
                outputs[name] = Outputs(name, path, reply["shapes"])
        exact = [name for name in outputs if self._programs[name].spec.exact]
        reference = outputs[(exact or list(outputs))[0]]
        agreements = {}
        for name, other in outputs.items():
            if other is reference:
                continue
            spec = self._programs[name].spec
            try:
                agreements[name] = compare(reference, other, workload, spec.exact)
            except BenchError as error:
                if spec.ours or spec.exact:
                    raise
                self.failures[name] = str(error)
        for output in outputs.values():
            output.path.unlink()  # hundreds of megabytes for the largest workloads
        return agreements

    def _attempt(self, name: str, action: Callable[[ProgramProcess], T]) -> T | None:
        if name in self.failures:
            return None
        try:
            return action(self._programs[name])
        except MbertError as error:
            if self._programs[name].spec.ours:
                raise
            self.failures[name] = str(error)
            return None
