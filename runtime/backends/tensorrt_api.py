"""What TensorRT and TensorRT-RTX share: one Python API under two module names.

Neither module is imported before a bundle or an export needs it.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from mbert.errors import BackendError

# Given an engine and a stack for what is to be closed, gives what makes its execution contexts;
# they are handed their device memory.
Contexts = Callable[[Any, ExitStack], Callable[[], Any]]

# Lines of a failure that go into the error's message.
_SHOWN = 4


@dataclass(frozen=True)
class Library:
    """One of the two libraries.

    Attributes:
        title: its name in messages.
        backend: its name in manifests.
        module: what to import.
        domains: operator domains whose nodes it computes, beside ONNX's own.
        attention: pattern of the layer, in the builder's report, that computes attention; None
            where a plugin does.
    """

    title: str
    backend: str
    module: str
    domains: frozenset[str]
    attention: re.Pattern[str] | None

    def load(self) -> Any:
        """Import the module.

        Raises:
            BackendError: it is missing or does not load; the message says how to install it.
        """
        try:
            trt = importlib.import_module(self.module)
        except Exception as error:  # also what its shared libraries or a stub raise
            raise BackendError(
                f"{self.title} cannot be loaded (Python module {self.module!r}: {error}). Install "
                f"it with `pip install 'mbert[{self.backend}]'`."
            ) from error
        if not hasattr(trt, "Builder"):
            raise BackendError(
                f"The Python module {self.module!r} is there, but it is not {self.title}: it has "
                f"no Builder. Install it with `pip install 'mbert[{self.backend}]'`."
            )
        return trt

    def unavailable(self) -> str | None:
        """Say why the library cannot be used, and what to do; None when it can."""
        try:
            self.load()
        except BackendError as error:
            return str(error)
        return None

    def builder(self, trt: Any) -> str:
        """Name the library and its version, as manifests do: "tensorrt-rtx 1.7.1.116"."""
        return f"{self.backend} {trt.__version__}"

    def deserialize(self, trt: Any, log: Log, engine: bytes) -> Any:
        """The engine that a file holds; None where the library refuses it, as ``log`` says."""
        runtime = trt.Runtime(log.sink)
        # Plugins travel in the engine as a library.
        runtime.engine_host_code_allowed = bool(self.domains)
        return runtime.deserialize_cuda_engine(engine)


class Log:
    """What a library says.

    Attributes:
        sink: the library's own logger, to pass to it.
        activation_bytes: memory for intermediate results, for each profile that was built.
        attention_layers: layers that compute attention, for each profile.
    """

    def __init__(
        self, trt: Any, attention: re.Pattern[str] | None, warn: Callable[[str], None]
    ) -> None:
        """Make the sink; ``warn`` is called with each warning."""
        self.activation_bytes: list[int] = []
        self.attention_layers: list[int] = []
        self._problems: list[str] = []
        self._attention = attention
        severity = trt.ILogger.Severity

        class Sink(trt.ILogger):  # type: ignore[misc]  # of a module that is known at run time only
            def __init__(self, log: Log) -> None:
                super().__init__()
                self._log = log

            def log(self, level: Any, message: str) -> None:
                if level in (severity.INTERNAL_ERROR, severity.ERROR):
                    self._log.problem(message)
                elif level == severity.WARNING:
                    warn(f"{trt.__name__}: {message.strip()}")
                else:
                    self._log.read(message)

        self.sink = Sink(self)

    def problem(self, message: str) -> None:
        """Keep an error."""
        self._problems.append(" ".join(message.split()))

    def read(self, message: str) -> None:
        """Take figures from what the builder reports."""
        if match := re.match(r"Total Activation Memory: (\d+) bytes", message):
            self.activation_bytes.append(int(match[1]))
        elif self._attention is not None and message.startswith("Layers:"):
            self.attention_layers = count_layers(message.splitlines(), self._attention)

    def failure(self) -> str:
        """The errors since the last call, for a message."""
        shown = list(dict.fromkeys(self._problems))[-_SHOWN:]
        self._problems.clear()
        return " / ".join(shown) or "it gave no reason"


def count_layers(lines: Sequence[str], wanted: re.Pattern[str]) -> list[int]:
    """Count matching layers for each profile of the builder's list of layers.

    Layers are listed profile by profile; those of all but the first carry ``[profile N]`` in one
    of their names, though not each of them.
    """
    counts = [0]
    for line in lines:
        profile = max((int(n) for n in re.findall(r"\[profile (\d+)\]", line)), default=0)
        counts.extend([0] * (profile + 1 - len(counts)))
        counts[-1] += bool(wanted.search(line))
    return counts
