"""A program of a run and the process that it has to itself."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import BenchError
from .process import WorkerProcess
from .programs import EXACT, Kind


@dataclass(frozen=True)
class Entrant:
    """A program as it takes part.

    Attributes:
        name: in tables.
        kind: how it is loaded.
        path: what it loads.
        precision: what it computes in.
        ours: it is a bundle; the others are compared with those.
    """

    name: str
    kind: Kind
    path: Path
    precision: str
    ours: bool

    @property
    def exact(self) -> bool:
        """Whether it differs from others of its kind by rounding only."""
        return self.precision == EXACT


class Runner(AbstractContextManager["Runner"]):
    """An entrant in its process, which is started anew where it died; a context manager."""

    def __init__(self, entrant: Entrant, task: str, threads: int, folder: Path) -> None:
        """Start nothing yet.

        Args:
            entrant: the program.
            task: what it computes.
            threads: of one call.
            folder: as :class:`mbert.bench.process.WorkerProcess` has it.
        """
        self.entrant = entrant
        self.versions: dict[str, str] = {}
        self.load_seconds = 0.0
        self.peak_bytes = 0  # over the life of all its processes
        self._task = task
        self._threads = threads
        self._folder = folder
        self._stack = ExitStack()
        self._process: WorkerProcess | None = None

    @property
    def alive(self) -> bool:
        """Whether the program is there."""
        return self._process is not None and self._process.alive

    def load(self) -> None:
        """Load the program, unless it is there and alive.

        Raises:
            MbertError: it cannot be loaded.
        """
        if self.alive:
            return
        self._stack.close()
        entrant = self.entrant
        self._process = self._stack.enter_context(WorkerProcess(entrant.name, self._folder))
        reply = self._process.ask(
            "load",
            module=entrant.kind.module,
            path=str(entrant.path),
            task=self._task,
            precision=entrant.precision,
            threads=self._threads,
        )
        self.versions, self.load_seconds = reply["versions"], reply["seconds"]

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Send a command; see :meth:`mbert.bench.process.WorkerProcess.ask`."""
        if self._process is None:
            raise BenchError(f"{self.entrant.name} has not been loaded.")
        reply = self._process.ask(command, **arguments)
        self.peak_bytes = max(self.peak_bytes, reply.get("peak_bytes", 0))
        return reply

    def __exit__(self, *exception: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """End the process."""
        self._stack.close()
