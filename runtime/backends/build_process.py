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
from collections.abc import Callable, Mapping, Sequence
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
    "import sys; sys.path.pop(0); from mbert.runtime.backends.build_process import main; main()"
)
# Lines of a dying child that go into the error's message.
_SHOWN = 3


@dataclass(frozen=True)
class BuildReport:
    """What the builder said about an engine.

    Attributes:
        builder: library and version, "tensorrt-rtx 1.7.1.116"; the engine runs with this one.
        activation_bytes: device memory for intermediate results, for each profile.
        fused_attention: layers that compute attention whole, for each profile.
    """

    builder: str
    activation_bytes: tuple[int, ...]
    fused_attention: tuple[int, ...]


@dataclass(frozen=True)
class BuildRequest:
    """What to build.

    Attributes:
        module: of this package; its ``build_here(request, progress, warn)`` does it.
        model: an ONNX file; weights beside it.
        engine: the file to write.
        compute_capability: of the GPU, "8.9".
        profiles: ranges for the symbols of the model's inputs, smallest first.
        options: the backend's own.
    """

    module: str
    model: str
    engine: str
    compute_capability: str
    profiles: tuple[Profile, ...]
    options: Mapping[str, str]


def build_in_child(request: BuildRequest, progress: Progress | None) -> BuildReport:
    """Build; the engine is there whole, or not at all.

    Args:
        request: what to build.
        progress: called with the name of what is being done and the part of the whole that is done,
            0 to 1.

    Raises:
        BackendError: the builder's own words, or how its process died.
    """
    engine = Path(request.engine)
    try:
        with tempfile.TemporaryDirectory(dir=engine.parent, prefix=".engine-") as folder:
            built = Path(folder) / "engine"
            message = json.dumps({**asdict(request), "engine": os.fspath(built)})
            report = _run(message, Path(folder) / "stderr", progress)
            built.replace(engine)
    except OSError as error:
        raise BackendError(f"The engine {engine} cannot be written: {error.strerror}.") from error
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


def _run(request: str, errors: Path, progress: Progress | None) -> BuildReport:
    mine, its = os.pipe()
    search = os.pathsep.join(entry for entry in sys.path if entry)
    with os.fdopen(mine, encoding="utf-8") as pipe, errors.open("w") as stderr:
        try:
            child = subprocess.Popen(
                [sys.executable, "-c", _CHILD, str(its)],
                stdin=subprocess.PIPE,
                stderr=stderr,
                pass_fds=[its],
                env={**os.environ, "PYTHONPATH": search},
                text=True,
            )
        finally:
            os.close(its)
        with child:
            try:
                report = _converse(child, request, pipe, progress)
            finally:
                child.kill()  # no effect on one that has ended
    if report is not None:
        return report
    last = " / ".join(errors.read_text(errors="replace").split("\n")[-_SHOWN - 1 :]).strip(" /")
    if child.returncode < 0:
        died = f"was ended by {signal.Signals(-child.returncode).name}"
    else:
        died = f"ended with status {child.returncode}"
    raise BackendError(
        f"The process that builds the engine {died}{': ' if last else ''}{last}. If memory is not "
        "what it lacked, the builder cannot take this graph: export with another --backend."
    )


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
    builder: str, activation_bytes: Sequence[int], fused_attention: Sequence[int]
) -> BuildReport:
    return BuildReport(builder, tuple(activation_bytes), tuple(fused_attention))
