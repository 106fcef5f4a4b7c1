"""Engines are built in a process of their own.

The libraries' compilers can end the process over a graph that they mishandle, and keep the memory
that they took. The child gets a request as JSON on standard input and answers on a pipe with one
JSON object a line: progress, warnings, and at last a report or an error.
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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import IO, Any

from mbert.errors import BackendError

from ..manifest import Profile

Progress = Callable[[str, float], None]

_log = logging.getLogger("mbert")

# Without the current folder, which could hold another mbert.
_CHILD = (
    "import sys; sys.path[:] = filter(None, sys.path); "
    "from mbert.runtime.backends.build_process import main; main()"
)
# Lines of a dying child that go into the error's message.
_SHOWN = 3


@dataclass(frozen=True)
class BuildReport:
    """What the builder said about an engine.

    Attributes:
        builder: library and version, "tensorrt-rtx 1.7.1.116"; the engine runs with this one.
        activation_bytes: device memory for intermediate results, for each profile.
        fused_attention: layers that compute attention whole, for each profile; None where a plugin
            does, which nothing takes apart.
        gpu: name of the GPU that it was built on; None where none was needed.
    """

    builder: str
    activation_bytes: tuple[int, ...]
    fused_attention: tuple[int, ...] | None
    gpu: str | None = None


@dataclass(frozen=True)
class BuildRequest:
    """What to build.

    Attributes:
        module: of this package; its ``build_here(request, progress, warn)`` does it.
        model: an ONNX file; weights beside it.
        engine: the file to write.
        compute_capability: of the GPU, "8.9".
        profiles: ranges for the symbols of the model's inputs, smallest first.
        options: the backend's own, of types that JSON has.
    """

    module: str
    model: str
    engine: str
    compute_capability: str
    profiles: tuple[Profile, ...]
    options: Mapping[str, Any]


def build_in_child(request: BuildRequest, progress: Progress | None) -> BuildReport:
    """Build; the engine is there whole, or not at all.

    Args:
        request: what to build.
        progress: called with the name of what is being done and the part of the whole that is done,
            0 to 1.

    Raises:
        BackendError: the builder's own words, how its process died or why it did not start, or why
            the engine cannot be written.
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
    """The child."""
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
        profiles = tuple(Profile(**profile) for profile in raw.pop("profiles"))
        request = BuildRequest(**raw, profiles=profiles)
        backend = import_module(f".{request.module}", __package__)
        try:
            report: BuildReport = backend.build_here(
                request,
                lambda doing, part: send(doing=doing, part=part),
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
            child.kill()  # no effect on one that has ended
    if report is not None:
        return report
    errors.seek(0)
    last = " / ".join(errors.read().split("\n")[-_SHOWN - 1 :]).strip(" /")
    if child.returncode < 0:
        died = f"was ended by {signal.Signals(-child.returncode).name}"
    else:
        died = f"ended with status {child.returncode}"
    raise BackendError(
        f"The process that builds the engine {died}{': ' if last else ''}{last}. If memory is not "
        "what it lacked, the builder cannot take this graph: export with another --backend."
    )


def _start(errors: IO[str]) -> tuple[subprocess.Popen[str], IO[str]]:
    """The child, and the pipe that it answers on."""
    mine, its = os.pipe()
    try:
        child = subprocess.Popen(
            [sys.executable, "-c", _CHILD, str(its)],
            stdin=subprocess.PIPE,
            stderr=errors,
            pass_fds=[its],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            text=True,
        )
    except BaseException:
        os.close(mine)
        raise
    finally:
        os.close(its)
    return child, os.fdopen(mine, encoding="utf-8")


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
            progress(answer["doing"], answer["part"])
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
