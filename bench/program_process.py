"""A program that is measured, in a process that runs nothing else."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .errors import BenchError
from .programs import EXACT, ProgramKind, Source
from .worker_process import WorkerProcess


@dataclass(frozen=True)
class ProgramSpec:
    """A program to measure.

    Attributes:
        name: in tables.
        kind: how it is loaded.
        source: what it loads.
        ours: whether it is a bundle; peers are compared with the bundles.
    """

    name: str
    kind: ProgramKind
    source: Source
    ours: bool

    @property
    def precision(self) -> str:
        """What it computes in."""
        return self.source.precision

    @property
    def exact(self) -> bool:
        """Whether it computes in float32: it differs from others by rounding only."""
        return self.precision == EXACT


class ProgramProcess(AbstractContextManager["ProgramProcess"]):
    """A program in a worker process, restarted if it died; a context manager."""

    def __init__(self, spec: ProgramSpec, folder: Path) -> None:
        """Keep the settings; :meth:`load` starts the process.

        Args:
            spec: the program.
            folder: see :class:`mbert.bench.worker_process.WorkerProcess`.
        """
        self.spec = spec
        self.versions: dict[str, str] = {}
        self.load_seconds = 0.0
        self.peak_bytes = 0  # over the life of all its processes
        self._folder = folder
        self._stack = ExitStack()
        self._process: WorkerProcess | None = None

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.alive

    def load(self) -> None:
        """Load the program, unless its process runs.

        Raises:
            MbertError: it cannot be loaded.
        """
        if self.alive:
            return
        self._stack.close()
        spec = self.spec
        self._process = self._stack.enter_context(WorkerProcess(spec.name, self._folder))
        reply = self._process.ask("load", module=spec.kind.module, source=asdict(spec.source))
        self.versions, self.load_seconds = reply["versions"], reply["seconds"]

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Send a command; see :meth:`mbert.bench.worker_process.WorkerProcess.ask`."""
        if self._process is None:
            raise BenchError(f"{self.spec.name} has not been loaded.")
        reply = self._process.ask(command, **arguments)
        self.peak_bytes = max(self.peak_bytes, reply.get("peak_bytes", 0))
        return reply

    def close(self) -> None:
        """End the process."""
        self._stack.close()

    def __exit__(self, *exception: object) -> None:
        """Close it."""
        self.close()
