"""The last seconds of a live video: a thread reads and decodes, and keeps a buffer of bounded size."""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from autovid.data.live_sources import GrowingFile, LiveSource
from autovid.data.video import Pixels, VideoError, decoded, make_scaler, reading, upright, video_stream

MOST_BYTES = 1 << 28  # of the frames in the buffer
RATE = 25.0  # frames a second, where they carry no time
SLACK = 1e-3  # seconds by which sums of frame times may be off
JUMP = 10.0  # seconds from one frame to the next that are a fault of the clock, and no pause
AGAIN = 1.0  # seconds until a source that has stopped is opened again
LEAVE = 2.0  # seconds that a reader gets to end

Live = TypeVar("Live", bound="LiveFrames")


class Snapshot(NamedTuple):
    """The frames (N, H, W, 3) in the buffer, and when each was shown, (N,) seconds after the first of all."""

    pixels: Pixels
    seconds: NDArray[np.float64]


class LiveFrames:
    """The frames of a source, as a context: `take` of each of the last `window` seconds, and at least `least` of them.

    A source that ends or breaks is opened again every second. `count` is the number of frames so far, `reason` why
    there are none at the moment, and `fatal` is True where there will never be any.
    """

    def __init__(self, source: LiveSource, window: float, least: int, take: Callable[[Pixels], Pixels]) -> None:
        self.count, self.reason, self.fatal = 0, "", False
        self._source, self._window, self._least, self._take = source, window, least, take
        self._frames: deque[tuple[float, Pixels]] = deque()
        self._last = self._arrived = 0.0
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="live frames", daemon=True)

    def __enter__(self: Live) -> Live:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(LEAVE)

    def snapshot(self) -> Snapshot:
        """Return what the buffer holds, at least one frame where `count` is above 0."""
        with self._lock:
            frames = [*self._frames]
        return Snapshot(np.stack([pixels for _, pixels in frames]), np.array([seconds for seconds, _ in frames]))

    def _run(self) -> None:
        try:
            while not self.fatal and not self._stop.is_set():
                self._try_once()
                self._stop.wait(AGAIN)
        finally:
            self.fatal = True

    def _try_once(self) -> None:
        try:
            self._read_all()
            self.reason = "the source has ended"
        except VideoError as error:
            self.reason = str(error)
            # What a file holds does not change, and a server may only have been cut off.
            self.fatal = isinstance(self._source, GrowingFile) and not self.count

    def _read_all(self) -> None:
        """Put frames into the buffer until the source ends. Raises VideoError."""
        scaler, before, first = make_scaler(), None, True
        with self._source.open(self._stop.is_set) as container, reading():
            for packet in container.demux(video_stream(container)):
                for frame in decoded(packet):
                    if not frame.is_corrupt:
                        seconds = self._after_break() if first else self._last + _step(before, frame.time)
                        self._put(seconds, self._take(upright(frame, scaler)))
                        before, first = frame.time, False
                if self._stop.is_set():
                    return

    def _after_break(self) -> float:
        """Return when the first frame of a connection is shown: what passed without frames counts, too."""
        return self._last + time.monotonic() - self._arrived if self.count else 0.0

    def _put(self, seconds: float, image: Pixels) -> None:
        with self._lock:
            if self._frames and self._frames[-1][1].shape != image.shape:
                self._frames.clear()
            self._frames.append((seconds, image))
            most = max(self._least, MOST_BYTES // image.nbytes)
            while len(self._frames) > most or self._is_old(seconds):
                self._frames.popleft()
            self._last, self._arrived, self.reason = seconds, time.monotonic(), ""
            self.count += 1

    def _is_old(self, now: float) -> bool:
        """Tell whether the oldest frame is needed no more."""
        return len(self._frames) > self._least and now - self._frames[0][0] >= self._window - SLACK


def _step(before: float | None, now: float | None) -> float:
    """Return the seconds from one frame to the next, by the source's clock where it can be believed."""
    step = -1.0 if before is None or now is None else now - before
    return step if 0 <= step < JUMP else 1 / RATE
