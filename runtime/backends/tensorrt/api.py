"""The interface of the two libraries, and the log that reads their messages."""

from __future__ import annotations

import importlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar

from mbert.errors import BackendError

from ...manifest import Engine
from .build_process import BuildReport, BuildRequest, Progress, Warn, build_in_child

# Error lines of a library that an exception's message quotes.
_QUOTED_LINES = 4


class Library(ABC):
    """One of the two libraries.

    Attributes:
        title: its name in messages.
        name: its backend name in manifests.
        module: the Python module to import.
        package: the Python package that pins one version of it.
        domains: operator domains that it computes beside ONNX's own.
        attention: pattern of the builder's report for a layer that computes attention; None where a
            plugin computes it.
        builds_on_gpu: whether an engine is built on the model of GPU that runs it.
    """

    title: ClassVar[str]
    name: ClassVar[str]
    module: ClassVar[str]
    package: ClassVar[str]
    domains: ClassVar[frozenset[str]] = frozenset()
    attention: ClassVar[re.Pattern[str] | None] = None
    builds_on_gpu: ClassVar[bool]

    def load(self) -> Any:
        """Import the module.

        Raises:
            BackendError: the module is missing or does not load; the message says how to install
                it.
        """
        try:
            trt = importlib.import_module(self.module)
        except Exception as error:  # shared libraries and stubs raise various types
            raise BackendError(
                f"{self.title} cannot be loaded (Python module {self.module!r}: {error}). Install "
                f"it with `pip install 'mbert[{self.name}]'`."
            ) from error
        if not hasattr(trt, "Builder"):
            raise BackendError(
                f"The Python module {self.module!r} is there, but it is not {self.title}: it has "
                f"no Builder. Install it with `pip install 'mbert[{self.name}]'`."
            )
        return trt

    def unavailable(self) -> str | None:
        """Say why the library cannot be used, and the remedy; None if it can."""
        try:
            self.load()
        except BackendError as error:
            return str(error)
        return None

    @property
    def version(self) -> str:
        """Return name and version as manifests record them: "tensorrt-rtx 1.7.1.116"."""
        return f"{self.name} {self.load().__version__}"

    def build(
        self,
        model: Path,
        path: Path,
        engine: Engine,
        progress: Progress | None = None,
        device: int | None = None,
    ) -> BuildReport:
        """Build ``engine`` in a child process; the file is written whole or not at all.

        Args:
            model: an ONNX file in this library's form; its weights lie beside it.
            path: the engine's file.
            engine: compute capability, profiles and hardware compatibility to build for.
            progress: called with the phase and the fraction that is done, 0 to 1.
            device: index of the GPU to build on, if the library needs one; None: the first of the
                engine's compute capability.

        Raises:
            BackendError: the library or the GPU is missing, or the library cannot build for the
                compute capability, or refuses the model.
        """
        return build_in_child(self.request(model, path, engine, device), progress)

    @abstractmethod
    def request(
        self, model: Path, path: Path, engine: Engine, device: int | None = None
    ) -> BuildRequest:
        """Check that the engine can be built here, and describe it for the child process."""

    @abstractmethod
    def build_here(self, request: BuildRequest, progress: Progress, warn: Warn) -> BuildReport:
        """Build an engine in this process, which is the child of :meth:`build`."""

    def deserialize(self, log: Log, engine: bytes) -> Any:
        """Return the engine of a file; None if it is refused, as ``log`` says."""
        runtime = self.load().Runtime(log.sink)
        # Plugins travel inside the engine, as a shared library.
        runtime.engine_host_code_allowed = bool(self.domains)
        return runtime.deserialize_cuda_engine(engine)

    @abstractmethod
    def contexts(
        self, engine: Any, runtime_cache: Path | None, owned: ExitStack
    ) -> Callable[[], Any]:
        """Return a function that makes execution contexts that own no memory.

        Args:
            engine: the deserialized engine.
            runtime_cache: the file that keeps kernels compiled while running; None: nowhere.
            owned: closed when the engine is.
        """


class Log:
    """Collects the messages of a library.

    Attributes:
        sink: the library's own logger, to pass to it.
        activation_bytes: memory for intermediate results, for each profile that was built.
        attention_layers: number of layers that compute attention, for each profile.
    """

    def __init__(self, library: Library, warn: Warn) -> None:
        """Make the sink; ``warn`` is called with each warning."""
        self.activation_bytes: list[int] = []
        self.attention_layers: list[int] = []
        self._errors: list[str] = []
        self._attention = library.attention
        trt: Any = library.load()
        severity = trt.ILogger.Severity

        class Sink(trt.ILogger):  # type: ignore[misc]  # the module is known at run time only
            def __init__(self, log: Log) -> None:
                super().__init__()
                self._log = log

            def log(self, level: Any, message: str) -> None:
                if level in (severity.INTERNAL_ERROR, severity.ERROR):
                    self._log.add_error(message)
                elif level == severity.WARNING:
                    warn(f"{trt.__name__}: {message.strip()}")
                else:
                    self._log.read(message)

        self.sink = Sink(self)

    def add_error(self, message: str) -> None:
        """Keep an error for :meth:`failure`."""
        self._errors.append(" ".join(message.split()))

    def read(self, message: str) -> None:
        """Take memory and attention layers from a message of the builder."""
        if match := re.match(r"Total Activation Memory: (\d+) bytes", message):
            self.activation_bytes.append(int(match[1]))
        elif self._attention is not None and message.startswith("Layers:"):
            self.attention_layers = count_layers(message.splitlines(), self._attention)

    def failure(self) -> str:
        """Return the errors since the last call, as part of a message."""
        quoted = list(dict.fromkeys(self._errors))[-_QUOTED_LINES:]
        self._errors.clear()
        return " / ".join(quoted) or "it gave no reason"


def count_layers(lines: Sequence[str], pattern: re.Pattern[str]) -> list[int]:
    """Count the layers that match ``pattern``, for each profile of the builder's list.

    The builder lists layers profile by profile. From the second profile on some of their names,
    though not all, contain ``[profile N]``.
    """
    counts = [0]
    for line in lines:
        profile = max((int(n) for n in re.findall(r"\[profile (\d+)\]", line)), default=0)
        counts.extend([0] * (profile + 1 - len(counts)))
        counts[-1] += bool(pattern.search(line))
    return counts
