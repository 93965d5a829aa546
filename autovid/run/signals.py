"""Ctrl-C and SIGTERM: the first asks the loop to stop after the step, the second stops it at once."""

import contextlib
import os
import signal
import threading
from types import FrameType
from typing import Any

from autovid.errors import AutovidError


class Interrupted(AutovidError):
    """The user or the system stopped the run; exit code 130 (Ctrl-C) or 143 (SIGTERM)."""

    def __init__(self, signum: int, message: str) -> None:
        super().__init__(message)
        self.signal = signum
        self.exit_code = 128 + signum


class StopRequest:
    """A context in which signals wait for the end of the step: `signal` is the first one that came, or None.

    Outside the main thread, where Python allows no handlers, it does nothing.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._pid = os.getpid()
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) is not signal.SIG_IGN:  # nohup and background jobs mean it
                    self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:
            self._handle_in_child(number)
        elif self.signal is not None:
            raise KeyboardInterrupt  # not an Exception: no handler of a broken video may swallow it
        else:
            self.signal = number
            with contextlib.suppress(OSError):  # print() is not safe inside a handler
                os.write(2, b"\nstopping after this step; once more to stop at once\n")

    def _handle_in_child(self, number: int) -> None:
        """A forked loader worker lets Ctrl-C pass, so that the step can be finished, and ends on SIGTERM."""
        if number == signal.SIGTERM:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
