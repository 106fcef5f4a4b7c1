"""Unwind a command on signals as Ctrl-C does: nothing stays half-written."""

from __future__ import annotations

import signal


def unwind_on_signals() -> None:
    """Let SIGTERM and SIGHUP raise KeyboardInterrupt.

    A signal that is ignored at the start, as nohup has it, stays ignored.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
