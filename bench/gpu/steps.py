"""Run the steps of the bench, each in a separate process."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

from .card import this_card
from .context import Context
from .results import Findings, in_words

# Modules with `run`, and the seconds after which each starts nothing more: seven minutes in all.
STEPS = {"primitives": 30, "correctness": 100, "attention": 200, "encoder": 90}
# A process is ended this long after its step's time.
GRACE_SECONDS = 60
PASSED, FAILED, BROKEN, SKIPPED = "passed", "failed", "broken", "skipped"
_LINES_OF_ERROR = 20


def run_apart(name: str, checkout: Path, library: Path, quick: bool) -> dict[str, Any]:
    """Run a step in another process.

    Args:
        name: a key of :data:`STEPS`.
        checkout: the repository; its bench/gpu/run.py is started.
        library: the compiled kernels.
        quick: less of everything.

    Returns:
        For the record: "status", "seconds", and "findings", or "error" if the process failed.
    """
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mbert-gpu-") as scratch:
        result = Path(scratch) / "result.json"
        command = [
            sys.executable, str(checkout / "bench" / "gpu" / "run.py"),
            "--checkout", str(checkout), "--step", name,
            "--library", str(library), "--output", str(result),
            *(["--quick"] if quick else []),
        ]  # fmt: skip
        error = _run(command, STEPS[name] + GRACE_SECONDS, Path(scratch) / "printed")
        seconds = time.monotonic() - begin
        if error is not None or not result.exists():
            reason = error or "it ended without a result"
            return {"status": BROKEN, "seconds": seconds, "error": reason}
        findings = json.loads(result.read_text(encoding="utf-8"))
    failed = any(check["problem"] is not None for check in findings["checks"])
    return {
        "status": FAILED if failed else PASSED,
        "seconds": seconds,
        "findings": findings,
    }


def run_here(name: str, checkout: Path, library: Path, quick: bool) -> Findings:
    """Run a step in this process; arguments as for :func:`run_apart`."""
    from .kernels import Kernels

    card = this_card()
    context = Context(
        checkout=checkout,
        kernels=Kernels(library),
        card=card.name,
        sm=card.sm,
        quick=quick,
        deadline=time.monotonic() + STEPS[name],
    )
    findings: Findings = import_module(f"{__package__}.{name}").run(context)
    return findings


def write_findings(findings: Findings, path: Path) -> None:
    """Write findings for :func:`run_apart`."""
    path.write_text(json.dumps(asdict(findings)), encoding="utf-8")


def _run(command: Sequence[str], seconds: float, printed: Path) -> str | None:
    """Run a command; return the error, None on success."""
    with printed.open("w") as output:
        try:
            code = subprocess.run(
                command, stdout=output, stderr=subprocess.STDOUT, timeout=seconds, check=False
            ).returncode
        except (OSError, subprocess.TimeoutExpired) as error:
            return in_words(error)
    if code == 0:
        return None
    lines = printed.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join((f"the process ended with {code}:", *lines[-_LINES_OF_ERROR:]))
