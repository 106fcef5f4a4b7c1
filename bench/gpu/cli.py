"""Command line of the GPU bench; imports the standard library alone."""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mbert.errors import InputError, MbertError

from .build import build, find_nvcc, nvcc_version
from .card import this_card
from .checkout import find_checkout
from .report import draw, make_record
from .results import in_words
from .steps import BROKEN, PASSED, SKIPPED, STEPS, run_apart, run_here, write_findings

_DESCRIPTION = f"""\
Check and time mbert's CUDA kernels on this machine's GPU. Needs PyTorch with CUDA, numpy and nvcc;
no network, and nothing of mbert installed. Compiles the kernels; checks every primitive against the
tables of the PTX manual, and the kernels against float64 on every case of the tests; times
attention beside PyTorch's flash and flex attention, and the packed encoder whole and in parts.
Compiled once, the steps take about {sum(STEPS.values()) // 60} minutes: past its share of them,
each ends what it has begun and says what it left out."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line.

    Args:
        arguments: None: those of the process.

    Raises:
        SystemExit: 0 if every step passed, 1 if one did not, 2 for a wrong command line.
    """
    options = _parser().parse_args(arguments)
    try:
        checkout = find_checkout(options.checkout)
        if options.step is not None:
            findings = run_here(options.step, checkout, options.library, options.quick)
            write_findings(findings, options.output)
            return
        passed = _run_all(checkout, _chosen(options.steps), options.quick, options.output)
    except MbertError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(1)
    sys.exit(0 if passed else 1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bench/gpu/run.py",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the record as JSON")
    parser.add_argument("--quick", action="store_true", help="less of everything")
    parser.add_argument(
        "--steps", metavar="NAMES", help=f"with commas between them; default: {','.join(STEPS)}"
    )
    parser.add_argument(
        "--checkout",
        type=Path,
        metavar="FOLDER",
        help="the repository; default: the one of this file, or the working directory",
    )
    # For the processes of the steps.
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--library", type=Path, help=argparse.SUPPRESS)
    return parser


def _chosen(names: str | None) -> list[str]:
    if names is None:
        return list(STEPS)
    wanted = {name.strip() for name in names.split(",") if name.strip()}
    unknown = sorted(wanted - set(STEPS))
    if unknown or not wanted:
        raise InputError(
            f"No such step: {', '.join(unknown) or repr(names)}. Expected some of "
            f"{', '.join(STEPS)}, with commas between them."
        )
    return [name for name in STEPS if name in wanted]


def _run_all(checkout: Path, names: Sequence[str], quick: bool, output: Path | None) -> bool:
    """Run the steps, print the record; return whether all passed."""
    if output is not None and not output.absolute().parent.is_dir():
        raise InputError(f"{output.absolute().parent} is no folder. Make it first.")
    card = this_card()
    nvcc = find_nvcc()
    versions = {"mbert": _version(checkout), "nvcc": nvcc_version(nvcc)}
    steps: dict[str, dict[str, Any]] = {}

    def show(name: str) -> None:
        step = steps[name]
        print(f"{name}: {step['status']} ({step['seconds']:.0f} s)", file=sys.stderr, flush=True)

    begin = time.monotonic()
    library = None
    try:
        library = build(checkout, checkout / "build" / "gpu" / f"sm_{card.sm}", card.sm, nvcc)
        steps["build"] = {"status": PASSED}
    except (MbertError, OSError) as error:
        steps["build"] = {"status": BROKEN, "error": in_words(error)}
    steps["build"]["seconds"] = time.monotonic() - begin
    show("build")
    for name in names:
        steps[name] = (
            {"status": SKIPPED, "seconds": 0.0, "error": "there are no kernels"}
            if library is None
            else run_apart(name, checkout, library, quick)
        )
        show(name)
    record = make_record(asdict(card), versions, quick, steps)
    print(draw(record))
    if output is not None:
        output.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return all(step["status"] == PASSED for step in steps.values())


def _version(checkout: Path) -> str:
    text = (checkout / "pyproject.toml").read_text(encoding="utf-8")
    found = re.search(r'^version = "(.+)"$', text, re.MULTILINE)
    return found[1] if found else "unknown"
