"""One program in a process of its own: requests on standard input, replies on standard output.

A request is a line of JSON, ``{"command": name, ...arguments}``; so is its reply, ``{"result":
{...}}`` or ``{"error": {"kind": class, "message": text}}``. Between two requests the process is
blocked on its input.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from mbert.errors import MbertError

from .errors import BenchError
from .memory import peak_bytes, reset_peak
from .programs import Program, Source, open_program

# A turn of short calls repeats them for so long.
TURN_SECONDS = 0.25
# Thread pools spin for a while after a call, in the hope of another one.
_SETTLE_SECONDS = 2.0
_SETTLE_STEP = 0.02

Reply = dict[str, Any]


class Worker:
    """The commands."""

    def __init__(self) -> None:
        """Nothing is loaded yet."""
        self._program: Program | None = None
        self._highest = 0  # of the peaks before each reset, in bytes

    def load(self, module: str, source: dict[str, Any]) -> Reply:
        """Load a program; ``source``: fields of :class:`Source`."""
        start = time.perf_counter()
        self._program = open_program(module, Source(**source))
        return {"versions": self._program.versions, "seconds": time.perf_counter() - start}

    def prepare(self, sequences: list[list[int]], groups: list[list[int]]) -> Reply:
        """Take the ids of the runs to come."""
        self._loaded.prepare([np.array(ids, np.int32) for ids in sequences], groups)
        return {}

    def write_outputs(self, path: str) -> Reply:
        """Run once and write every sequence's float32 values to ``path``, end to end."""
        shapes = []
        with Path(path).open("wb") as file:
            for values in self._loaded.outputs(self._loaded.run()):
                np.ascontiguousarray(values, np.float32).tofile(file)
                shapes.append(list(values.shape))
        wait_until_idle()
        return {"shapes": shapes}

    def turn(self) -> Reply:
        """Time one long call, or short ones for :data:`TURN_SECONDS`; then let the threads sleep.

        Returns (in seconds and bytes) each call's time, the peak memory since the last reset, and
        whether the process came to rest.
        """
        calls = timed_calls(self._loaded.run, TURN_SECONDS)
        return {"seconds": calls, "settled": wait_until_idle(), "peak_bytes": peak_bytes()}

    def reset_peak(self) -> Reply:
        """Count the peak memory from here on."""
        self._highest = max(self._highest, peak_bytes())
        return {"reset": reset_peak()}

    def highest_peak(self) -> Reply:
        """Tell the peak since the process began, loading included, in bytes."""
        return {"peak_bytes": max(self._highest, peak_bytes())}

    def make_random(self, shape: str, folder: str) -> Reply:
        """Make a random checkpoint and its bundle: here, so that its memory goes away."""
        from .random_checkpoint import make_random  # a mbert process must not load torch

        make_random(shape, Path(folder))
        return {}

    def make_peer_model(
        self, name: str, source: str, architecture: str | None, folder: str
    ) -> Reply:
        """Make a peer's model: here, so that its memory goes away."""
        from .peer_models import make_peer_model

        make_peer_model(name, source, architecture, Path(folder))
        return {}

    def sgemm(self, library: str, **arguments: Any) -> Reply:
        """Measure a library's matrix product; see :func:`mbert.bench.sgemm.rate`."""
        from .sgemm import rate

        return {"rate": rate(library, **arguments)}

    @property
    def _loaded(self) -> Program:
        if self._program is None:
            raise BenchError("No program has been loaded in this process.")
        return self._program


COMMANDS = (
    "load",
    "prepare",
    "write_outputs",
    "turn",
    "reset_peak",
    "highest_peak",
    "make_random",
    "make_peer_model",
    "sgemm",
)


def timed_calls(
    call: Callable[[], object],
    at_least: float,
    clock: Callable[[], float] = time.perf_counter,
) -> list[float]:
    """Call once if that takes ``at_least`` seconds, else repeatedly for that long.

    Returns:
        Seconds of each call. Of several the first is left out: it finds cold caches and sleeping
        threads after the other program's turn.
    """
    seconds: list[float] = []
    total = 0.0
    while True:
        start = clock()
        result = call()
        end = clock()
        del result  # freed between the calls, outside of both
        seconds.append(end - start)
        total += seconds[-1]
        if total >= at_least:
            break
    return seconds[1:] or seconds


def wait_until_idle() -> bool:
    """Wait until this process uses no processor time; False if it does not come to rest."""
    end = time.perf_counter() + _SETTLE_SECONDS
    while time.perf_counter() < end:
        before = time.process_time()  # of all threads
        time.sleep(_SETTLE_STEP)
        if time.process_time() - before < _SETTLE_STEP / 10:
            return True
    return False


def serve(requests: TextIO, replies: TextIO) -> None:
    """Answer every request until the input ends."""
    worker = Worker()
    for line in requests:
        arguments = json.loads(line)
        command = arguments.pop("command")
        reply: Reply
        try:
            if command not in COMMANDS:
                raise BenchError(f"{command!r} is no command; expected one of {COMMANDS}.")
            reply = {"result": getattr(worker, command)(**arguments)}
        except MbertError as error:
            reply = {"error": {"kind": type(error).__name__, "message": str(error)}}
        except Exception as error:
            traceback.print_exc()
            message = f"{type(error).__name__}: {error}"
            reply = {"error": {"kind": BenchError.__name__, "message": message}}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


def main() -> None:
    """Serve standard input."""
    # Ctrl-C reaches the whole group of processes; the driver ends its workers itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Whatever a library prints goes to standard error, not among the replies.
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    serve(sys.stdin, replies)


if __name__ == "__main__":
    main()
