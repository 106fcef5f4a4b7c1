"""Signals that end a command, however it was started."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import time
from mbert.signals import unwind_on_signals
unwind_on_signals()
try:
    print("ready", flush=True)
    time.sleep(1)
    print("not ended")
except KeyboardInterrupt:
    print("unwound")
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=str)
@pytest.mark.parametrize("ignored", [False, True])
def test_a_signal_unwinds_unless_it_was_ignored(
    tmp_path: Path, number: signal.Signals, ignored: bool
) -> None:
    before = signal.SIG_IGN if ignored else signal.SIG_DFL
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        preexec_fn=lambda: signal.signal(number, before),
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        found = process.stdout.read()
    assert found == ("not ended\n" if ignored else "unwound\n")
