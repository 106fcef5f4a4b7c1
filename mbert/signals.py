"""Signals that end a command: they unwind it as Ctrl-C does, so that nothing stays half-written."""

from __future__ import annotations

import signal


def unwind_on_signals() -> None:
    """Let SIGTERM and SIGHUP raise KeyboardInterrupt, unless they are ignored, as under nohup."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
