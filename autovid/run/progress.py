"""Long work shows itself: a live block on a terminal, otherwise one plain line per interval."""

import contextlib
import os
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import IO, Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

LINE_SECONDS = 10.0
REFRESH_SECONDS = 0.1


class QuietStream:
    """A text stream whose reader may go away: what can no longer be written is dropped, and the run goes on."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._gone = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Writes, with "?" for what the encoding of the terminal lacks."""
        try:
            if not self._gone:
                self._stream.write(text)
        except UnicodeEncodeError:
            encoding = self._stream.encoding or "ascii"
            self._stream.write(text.encode(encoding, "replace").decode(encoding))
        except (OSError, ValueError):
            self._lose()
        return len(text)

    def flush(self) -> None:
        """Flushes, or notices that nobody reads."""
        try:
            if not self._gone:
                self._stream.flush()
        except (OSError, ValueError):
            self._lose()

    def _lose(self) -> None:
        self._gone = True
        with contextlib.suppress(OSError, ValueError):  # else Python complains of the closed pipe at its own exit
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._stream.fileno())
            os.close(null)


def duration(seconds: float) -> str:
    """ "0:42", "12:05" or "3:07:00"."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


class Progress:
    """Shows step, status, loss and time left of one task after the other. `stream` is standard output by default."""

    def __init__(
        self, title: str = "", stream: IO[str] | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._title, self._clock = title, clock
        self._stream = QuietStream(stream or sys.stdout)
        self._live: Live | None = None
        self._total = self._done = 0
        self._text = ""
        self._shown: tuple[int, float] | None = None  # step and time of the last line
        self._ends: deque[float] = deque(maxlen=100)  # when the last steps ended

    def start(self, total: int, done: int) -> None:
        """Begins at step `done` of `total`."""
        self._total, self._done, self._shown = total, done, None
        self._ends.clear()
        if self._stream.isatty() and os.environ.get("TERM") != "dumb":
            console = Console(file=self._stream)  # type: ignore[arg-type]
            self._live = Live(self._block(), console=console, auto_refresh=False)  # no thread: loaders fork
            self._live.start(refresh=True)

    def update(self, done: int, status: str, metrics: dict[str, float]) -> None:
        """Called after every step."""
        now = self._clock()
        self._done = done
        self._ends.append(now)
        loss = [f"loss {metrics['loss']:.4g}"] if "loss" in metrics else []
        self._text = " · ".join([text for text in [status] if text] + loss)
        interval = REFRESH_SECONDS if self._live else LINE_SECONDS
        if self._shown is None or now - self._shown[1] >= interval:
            self._show(now)

    def note(self, line: str) -> None:
        """A line that stays."""
        if self._live:
            self._live.console.print(Text(line))
        else:
            self._print(line)

    def close(self) -> None:
        """Shows the last state."""
        if self._ends and (self._live or self._shown is None or self._shown[0] != self._done):
            self._show(self._clock())
        if self._live:
            self._live.stop()
        self._live = None

    def time_left(self) -> float | None:
        """Seconds, from the last hundred steps; None before the second, as the first also sets everything up."""
        if len(self._ends) < 2:
            return None
        return (self._ends[-1] - self._ends[0]) / (len(self._ends) - 1) * (self._total - self._done)

    def _show(self, now: float) -> None:
        self._shown = (self._done, now)
        if self._live:
            self._live.update(self._block(), refresh=True)
        else:
            self._print(" · ".join(text for text in [self._title, self._counts(), self._text] if text))

    def _counts(self) -> str:
        left = self.time_left()
        percent = 100 * self._done // max(self._total, 1)
        suffix = f" · {duration(left)} left" if left is not None and self._done < self._total else ""
        return f"step {self._done}/{self._total} · {percent} %{suffix}"

    def _block(self) -> Group:
        bar = Table.grid(padding=(0, 1))
        bar.add_row(ProgressBar(total=max(self._total, 1), completed=self._done, width=30), Text(self._counts()))
        lines = [Text(text, overflow="ellipsis", no_wrap=True) for text in (self._title, self._text) if text]
        return Group(*lines[:1], bar, *lines[1:])

    def _print(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()
