"""Build engines in a child process.

The libraries' compilers can crash on a graph, and do not return the memory that they took. The
child reads a request as JSON from standard input and answers on a pipe with one JSON object a line:
progress, warnings, and at last a report or an error.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from mbert.errors import BackendError

from ...manifest import Profile

# Called with a phase of the build and the fraction that is done, 0 to 1.
Progress = Callable[[str, float], None]
# Called with each warning of the library.
Warn = Callable[[str], None]

_log = logging.getLogger("mbert")

# The current folder is dropped from the path: it could hold another mbert.
_CHILD = (
    "import sys; sys.path[:] = filter(None, sys.path); "
    "from mbert.runtime.backends.tensorrt.build_process import main; main()"
)
# Last lines of a dying child's standard error that the exception quotes.
_QUOTED_LINES = 3


@dataclass(frozen=True)
class BuildReport:
    """What the builder reports about an engine.

    Attributes:
        builder: library and version, "tensorrt-rtx 1.7.1.116"; the engine runs with this version
            only.
        activation_bytes: device memory for intermediate results, for each profile.
        fused_attention: number of layers whose attention is one kernel, for each profile; None
            where a plugin computes attention.
        gpu: name of the GPU that it was built on; None if no GPU was needed.
    """

    builder: str
    activation_bytes: tuple[int, ...]
    fused_attention: tuple[int, ...] | None
    gpu: str | None = None


@dataclass(frozen=True)
class BuildRequest:
    """An engine to build.

    Attributes:
        backend: name of the library in :data:`mbert.runtime.backends.tensorrt.LIBRARIES`.
        model: an ONNX file; weights beside it.
        engine: the file to write.
        compute_capability: of the GPU that runs it, "8.9".
        profiles: ranges for the symbols of the model's inputs, smallest first.
        hardware_compatibility: see :class:`mbert.runtime.manifest.Engine`.
        device: index of the GPU to build on; None if the library needs no GPU.
        plugins: plugin libraries that go into the engine.
    """

    backend: str
    model: str
    engine: str
    compute_capability: str
    profiles: tuple[Profile, ...]
    hardware_compatibility: str = "none"
    device: int | None = None
    plugins: tuple[str, ...] = ()


def build_in_child(request: BuildRequest, progress: Progress | None) -> BuildReport:
    """Build an engine in a child process; the file is written whole or not at all.

    Raises:
        BackendError: the library refused (the message quotes it), the process died or did not
            start, or the engine cannot be written.
    """
    engine = Path(request.engine)
    with ExitStack() as stack:
        with _writing(engine):
            temporary = tempfile.TemporaryDirectory(
                dir=engine.parent, prefix=".engine-", ignore_cleanup_errors=True
            )
            folder = Path(stack.enter_context(temporary))
            errors = stack.enter_context((folder / "stderr").open("w+", errors="replace"))
        message = json.dumps({**asdict(request), "engine": os.fspath(folder / "engine")})
        report = _run(message, errors, progress)
        with _writing(engine):
            (folder / "engine").replace(engine)
    return report


def main() -> None:
    """Run the child process."""
    # Imported here: the libraries import this module.
    from . import LIBRARIES

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets it too, and ends this process
    lock = threading.Lock()
    with os.fdopen(int(sys.argv[1]), "w", encoding="utf-8") as pipe:

        def send(**answer: Any) -> None:
            try:
                with lock:
                    pipe.write(json.dumps(answer) + "\n")
                    pipe.flush()
            except OSError:  # the parent is gone; no exception may unwind through the library
                os._exit(1)

        raw = json.load(sys.stdin)
        raw["profiles"] = tuple(Profile(**profile) for profile in raw["profiles"])
        raw["plugins"] = tuple(raw["plugins"])
        request = BuildRequest(**raw)
        try:
            report = LIBRARIES[request.backend].build_here(
                request,
                lambda phase, fraction: send(phase=phase, fraction=fraction),
                lambda text: send(warning=text),
            )
        except BackendError as error:
            send(error=str(error))
        else:
            send(report=asdict(report))


@contextmanager
def _writing(engine: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BackendError(f"The engine {engine} cannot be written: {error.strerror}.") from error


def _run(request: str, errors: IO[str], progress: Progress | None) -> BuildReport:
    try:
        child, pipe = _start(errors)
    except OSError as error:
        raise BackendError(
            f"The process that builds the engine cannot be started: {error.strerror}. See what "
            "this user may have of memory, processes and open files, and what takes them."
        ) from error
    with pipe, child:
        try:
            report = _converse(child, request, pipe, progress)
        finally:
            child.kill()  # no effect if it has ended
    if report is not None:
        return report
    errors.seek(0)
    quoted = " / ".join(errors.read().split("\n")[-_QUOTED_LINES - 1 :]).strip(" /")
    if child.returncode < 0:
        died = f"was ended by {signal.Signals(-child.returncode).name}"
    else:
        died = f"ended with status {child.returncode}"
    raise BackendError(
        f"The process that builds the engine {died}{': ' if quoted else ''}{quoted}. If memory "
        "is not what it lacked, the builder cannot take this graph: export with another --backend."
    )


def _start(errors: IO[str]) -> tuple[subprocess.Popen[str], IO[str]]:
    """Start the child; return it and the pipe that it answers on."""
    parent_end, child_end = os.pipe()
    try:
        child = subprocess.Popen(
            [sys.executable, "-c", _CHILD, str(child_end)],
            stdin=subprocess.PIPE,
            stderr=errors,
            pass_fds=[child_end],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            text=True,
        )
    except BaseException:
        os.close(parent_end)
        raise
    finally:
        os.close(child_end)
    return child, os.fdopen(parent_end, encoding="utf-8")


def _converse(
    child: subprocess.Popen[str], request: str, pipe: IO[str], progress: Progress | None
) -> BuildReport | None:
    assert child.stdin is not None
    try:
        child.stdin.write(request)
        child.stdin.close()
    except BrokenPipeError:  # it has died already, and its status says why
        child.wait()
        return None
    for line in pipe:
        answer = json.loads(line)
        if "error" in answer:
            raise BackendError(answer["error"])
        if "report" in answer:
            return _report(**answer["report"])
        if "warning" in answer:
            _log.warning("%s", answer["warning"])
        elif progress is not None:
            progress(answer["phase"], answer["fraction"])
    child.wait()
    return None


def _report(
    builder: str,
    activation_bytes: Sequence[int],
    fused_attention: Sequence[int] | None,
    gpu: str | None,
) -> BuildReport:
    fused = None if fused_attention is None else tuple(fused_attention)
    return BuildReport(builder, tuple(activation_bytes), fused, gpu)
