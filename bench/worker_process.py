"""The driver's end of a worker process."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from mbert import errors

from .errors import BenchError

_END_SECONDS = 5
_TAIL_LINES = 8
# Everything is on this machine: a library that asks the hub would only wait, and OpenVINO's tools
# report what they do to their makers unless they run in CI.
_OFFLINE = {"HF_HUB_OFFLINE": "1", "CI": "true"}


class WorkerProcess(AbstractContextManager["WorkerProcess"]):
    """A process that runs ``mbert.bench.worker``; a context manager that ends it."""

    def __init__(
        self, name: str, folder: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        """Start it.

        Args:
            name: for messages.
            folder: its working directory. An empty one: Python looks for modules there first, and
                a source tree would hide the installed package.
            environment: variables beside those of this process.
        """
        self.name = name
        # A file, not a pipe: nobody reads it until something goes wrong.
        self._messages = tempfile.TemporaryFile(  # noqa: SIM115 - closed by close()
            "w+", encoding="utf-8", errors="replace"
        )
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mbert.bench.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._messages,
            cwd=folder,
            encoding="utf-8",
            env={**os.environ, **_OFFLINE, **(environment or {})},
        )

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Send a command and wait for its result.

        Raises:
            MbertError: what the command raised.
            BenchError: the process ended, or the command failed unexpectedly.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"command": command, **arguments}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise BenchError(self._obituary(command))
        reply = json.loads(line)
        if "error" in reply:
            raise _error(reply["error"], self.name, command)
        result: dict[str, Any] = reply["result"]
        return result

    def __exit__(self, *exception: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """End the process, at once if it does not end by itself."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._messages.close()

    def _obituary(self, command: str) -> str:
        code = self._process.wait()
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        hint = " It probably ran out of memory." if code == -signal.SIGKILL else ""
        self._messages.seek(0)
        tail = "\n".join(self._messages.read().splitlines()[-_TAIL_LINES:])
        return f"The {self.name} process {how} during {command!r}.{hint}" + (
            f" Its last messages:\n{tail}" if tail else ""
        )


def _error(reply: dict[str, str], name: str, command: str) -> errors.MbertError:
    kind = getattr(errors, reply["kind"], None)
    if isinstance(kind, type) and issubclass(kind, errors.MbertError):
        known: errors.MbertError = kind(reply["message"])
        return known
    return BenchError(f"The {name} process failed during {command!r}: {reply['message']}")
