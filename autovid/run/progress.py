"""The progress of long work: a live block on a terminal, otherwise one plain line per interval."""

import contextlib
import io
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, TextIO, cast

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

LINE_SECONDS = 10.0
REFRESH_SECONDS = 0.1
RECENT = 20  # steps: what is shown of the batches is a mean over them, as one batch says little


class Progress:
    """A display of step, status, recent loss and top-1, and time left. `stream` is standard output by default."""

    def __init__(
        self, title: str = "", stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._title, self._clock = title, clock
        self._stream = QuietStream(stream or sys.stdout)
        self._live: Live | None = None
        self._total = self._done = 0
        self._text = ""
        self._shown_step, self._shown_at = -1, 0.0
        self._ends: deque[tuple[float, int]] = deque(maxlen=100)  # of the last updates: when, and how much was done
        self._recent: dict[str, deque[float]] = {}

    def start(self, total: int, done: int, status: str = "") -> None:
        """Begin at step `done` of `total`."""
        self._total, self._done, self._text = total, done, status
        self._ends.clear()
        self._recent = {name: deque(maxlen=RECENT) for name in ("top1", "loss")}
        if self._stream.isatty() and os.environ.get("TERM") != "dumb":
            console = Console(file=cast(TextIO, self._stream))
            self._live = Live(self._block(), console=console, auto_refresh=False)  # no thread: loaders fork
            self._live.start()
        self._show()

    def update(self, done: int, status: str, metrics: dict[str, float]) -> None:
        """Show the state after a step."""
        self._done = done
        self._ends.append((self._clock(), done))
        for name, values in self._recent.items():
            if name in metrics:
                values.append(metrics[name])
        means = {name: sum(values) / len(values) for name, values in self._recent.items() if values}
        top1 = f"top-1 {means['top1']:.0f} % (training)" if "top1" in means else ""
        loss = f"loss {means['loss'] + 0.0:.4g}" if "loss" in means else ""
        self.say(" · ".join(filter(None, [status, top1, loss])))

    def say(self, text: str) -> None:
        """Show another text in place of that of the last step, such as what takes long between two of them."""
        self._text, now = text, self._clock()
        if now - self._shown_at >= (REFRESH_SECONDS if self._live else LINE_SECONDS):
            self._show()

    @contextlib.contextmanager
    def of_phases(self) -> Iterator[Callable[[str, int, int], None]]:
        """Show phases one after the other: inside, call with a phase, what is done of it, and how much there is."""
        phase = ""

        def show(name: str, done: int, total: int) -> None:
            nonlocal phase
            if name != phase:
                self.start(total, done, name)
                phase = name
            self.update(done, name, {})

        try:
            yield show
        finally:
            if phase:
                self.close()

    def note(self, line: str) -> None:
        """Print a line that stays."""
        if self._live:
            self._live.console.print(Text(line))
        else:
            self._print(line)

    def close(self) -> None:
        """Show the last state and stop."""
        if self._shown_step != self._done:
            self._show()
        if self._live:
            self._live.stop()
        self._live = None

    def time_left(self) -> float | None:
        """Return the seconds left, by the last hundred updates, each of a step or of many.

        None before the second one, as the first also sets everything up.
        """
        if len(self._ends) < 2 or self._ends[-1][1] <= self._ends[0][1]:
            return None
        (begun, first), (now, last) = self._ends[0], self._ends[-1]
        return (now - begun) / (last - first) * (self._total - self._done)

    def _show(self) -> None:
        self._shown_step, self._shown_at = self._done, self._clock()
        if self._live:
            self._live.update(self._block(), refresh=True)
        else:
            self._print(" · ".join(filter(None, [self._title, self._counts(), self._text])))

    def _counts(self) -> str:
        left = self.time_left()
        percent = 100 * self._done // max(self._total, 1)
        suffix = f" · {duration(left)} left" if left is not None and self._done < self._total else ""
        return f"step {self._done}/{self._total} · {percent} %{suffix}"

    def _block(self) -> Group:
        bar = Table.grid(padding=(0, 1))
        bar.add_row(ProgressBar(total=max(self._total, 1), completed=self._done, width=30), Text(self._counts()))
        title, text = (Text(line, overflow="ellipsis", no_wrap=True) for line in (self._title, self._text))
        return Group(*([title] if self._title else []), bar, text)

    def _print(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()


class QuietStream:
    """A text stream whose reader may go away: what can no longer be written is dropped, and the run goes on."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream or io.StringIO()  # a process without standard output has None there
        self._gone = stream is None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write, with "?" for what the encoding of the stream lacks."""
        encoding = self._stream.encoding or "utf-8"
        self._try(self._stream.write, text.encode(encoding, "replace").decode(encoding))
        return len(text)

    def flush(self) -> None:
        """Flush, or notice that nobody reads."""
        self._try(self._stream.flush)

    def isatty(self) -> bool:
        """Return True if the stream is an open terminal."""
        return not self._gone and not self._stream.closed and self._stream.isatty()

    def _try(self, action: Callable[..., Any], *arguments: str) -> None:
        try:
            if not self._gone:
                action(*arguments)
        except (OSError, ValueError):
            self._gone = True
            # Else Python would complain of the closed pipe when it flushes at its own exit.
            with contextlib.suppress(OSError, ValueError):
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, self._stream.fileno())
                os.close(null)


def duration(seconds: float) -> str:
    """Return seconds as "0:42", "12:05" or "3:07:00"."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


def long_duration(seconds: float) -> str:
    """Write "40 s", "12 min", "3.5 h" or "12 days"."""
    for unit, size, most in (("s", 1.0, 90.0), ("min", 60.0, 5400.0), ("h", 3600.0, 48 * 3600.0)):
        if seconds < most:
            return f"{seconds / size:.2g} {unit}"
    return f"{seconds / 86400:,.0f} days"
