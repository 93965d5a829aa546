"""SIGTERM to commands that have no steps to finish: as Ctrl-C, so that what is kept at the one is kept at the other."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class Terminated(KeyboardInterrupt):
    """SIGTERM."""


def exit_code(stop: KeyboardInterrupt) -> int:
    """Of a command that was stopped: 143 by SIGTERM, 130 by Ctrl-C."""
    return 128 + (signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT)


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Inside, SIGTERM raises Terminated; loops of steps (autovid.run) have their own handler. Forked children end."""
    mine = os.getpid()

    def handle(number: int, frame: FrameType | None) -> None:
        if os.getpid() == mine:
            raise Terminated
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
