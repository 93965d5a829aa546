"""Ctrl-C, SIGTERM and SIGUSR1: the first asks the loop to stop after the step, the second stops it at once.

SIGUSR1 is what batch systems (SLURM: --signal) send before they take the machine away.
"""

import contextlib
import os
import signal
import threading
import time
from types import FrameType
from typing import Any, ClassVar

from autovid import distributed
from autovid.errors import AutovidError

ECHO = 5.0  # seconds in which workers take a second signal for the first one: launchers pass on what all have heard


class Interrupted(AutovidError):
    """The user or the system stopped the run; exit code 130 (Ctrl-C), 143 (SIGTERM) or 138 (SIGUSR1 on Linux)."""

    everywhere = True  # workers stop together

    def __init__(self, signum: int, message: str) -> None:
        super().__init__(message)
        self.signal = signum
        self.exit_code = 128 + signum

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.signal, str(self))


class StopRequest:
    """A context in which signals wait for the end of the step: `signal` is the first one that came, or None.

    While `at_once` is set, they do not wait: the step is given up, since there is nothing to save.

    Outside the main thread, where Python allows no handlers, only `ask_to_stop` reaches it.
    """

    active: ClassVar[list["StopRequest"]] = []

    def __init__(self) -> None:
        self.signal: int | None = None
        self.at_once = False
        self._pid = os.getpid()
        self._since = 0.0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        self.active.append(self)
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
                if signal.getsignal(number) is not signal.SIG_IGN:  # nohup and background jobs mean it
                    self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        self.active.remove(self)
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:
            self._handle_in_child(number)
        elif self.signal is not None:
            if distributed.size() > 1 and time.monotonic() - self._since < ECHO:
                return
            raise KeyboardInterrupt  # not an Exception: no handler of a broken video may swallow it
        else:
            self.ask(number)
            if self.at_once:
                raise KeyboardInterrupt
            with contextlib.suppress(OSError):  # print() is not safe inside a handler
                os.write(2, b"\nstopping after this step; once more to stop at once\n")

    def ask(self, number: int) -> None:
        """Ask to stop as this signal would."""
        if self.signal is None:
            self.signal, self._since = number, time.monotonic()

    def _handle_in_child(self, number: int) -> None:
        """End a forked loader worker on SIGTERM; let Ctrl-C pass, so that the step can be finished."""
        if number == signal.SIGTERM:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)


def ask_to_stop(number: int) -> None:
    """Ask every loop of this process to stop after its step, as signal `number` would; any thread may call it."""
    for request in [*StopRequest.active]:
        request.ask(number)
