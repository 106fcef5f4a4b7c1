"""The programs that are still in on a workload, and why the others are not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from mbert.errors import MbertError

from .agreement import Agreement, Outputs, compare
from .errors import BenchError
from .memory import available_bytes
from .runner import Runner

_FLOAT32_BYTES = 4
T = TypeVar("T")


class Field:
    """Gives commands to all programs; a peer that fails is out, a bundle that fails is an error."""

    def __init__(self, runners: Sequence[Runner]) -> None:
        """Let everybody in.

        Args:
            runners: the programs, bundles first.
        """
        self._runners = {runner.entrant.name: runner for runner in runners}
        self.failures: dict[str, str] = {}

    @property
    def names(self) -> list[str]:
        """Who is in."""
        return [name for name in self._runners if name not in self.failures]

    def leave_out_too_large(self, heads: int, batches: Sequence[Sequence[int]]) -> None:
        """Leave out the peers whose attention scores would not fit into memory.

        Args:
            heads: attention heads of the model.
            batches: lengths of the sequences of each padded batch.
        """
        scores = max(len(lengths) * max(lengths) ** 2 for lengths in batches)
        available = available_bytes()
        for name in self.names:
            copies = self._runners[name].entrant.kind.score_copies
            needed = copies * scores * heads * _FLOAT32_BYTES
            if needed > available:
                self.failures[name] = (
                    f"it was not run: its attention scores take about {needed / 1e9:.1f} GB, "
                    f"{available / 1e9:.1f} GB are free"
                )

    def load(self) -> None:
        """Load the programs whose process has ended since the last workload."""
        for name in self.names:
            self._attempt(name, lambda runner: runner.load())

    def ask(self, command: str, **arguments: Any) -> dict[str, dict[str, Any]]:
        """Send a command to everybody, one after the other; return the replies by name."""
        replies = {name: self.ask_one(name, command, **arguments) for name in self.names}
        return {name: reply for name, reply in replies.items() if reply is not None}

    def ask_one(self, name: str, command: str, **arguments: Any) -> dict[str, Any] | None:
        """Send a command to one; None where it is out."""
        return self._attempt(name, lambda runner: runner.ask(command, **arguments))

    def agreements(self, workload: str, scratch: Path) -> dict[str, Agreement]:
        """Let everybody compute once and compare with the first that computes in float32.

        Where nobody does, with the first of all.

        Args:
            workload: for messages.
            scratch: where outputs may lie.

        Returns:
            By name, without the program that the others are compared with.

        Raises:
            BenchError: the bundles disagree, or programs that all compute in float32.
        """
        outputs = {}
        for name in self.names:
            path = scratch / f"{name}.float32"
            reply = self.ask_one(name, "write_outputs", path=str(path))
            if reply is not None:
                outputs[name] = Outputs(name, path, reply["shapes"])
        exact = [name for name in outputs if self._runners[name].entrant.exact]
        reference = outputs[(exact or list(outputs))[0]]
        agreements = {}
        for name, other in outputs.items():
            if other is reference:
                continue
            entrant = self._runners[name].entrant
            try:
                agreements[name] = compare(reference, other, workload, entrant.exact)
            except BenchError as error:
                if entrant.ours or entrant.exact:
                    raise
                self.failures[name] = str(error)
        for output in outputs.values():
            output.path.unlink()  # hundreds of megabytes for the largest workloads
        return agreements

    def _attempt(self, name: str, action: Callable[[Runner], T]) -> T | None:
        if name in self.failures:
            return None
        try:
            return action(self._runners[name])
        except MbertError as error:
            if self._runners[name].entrant.ours:
                raise
            self.failures[name] = str(error)
            return None
