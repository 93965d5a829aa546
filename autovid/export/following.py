"""Predictions of a live video: every second, of its last seconds."""

import time
from collections.abc import Callable, Iterator
from functools import partial

from autovid.clip import Clip
from autovid.data.clips import Window, centre_square, least_frames, window_indices
from autovid.data.live import LiveFrames
from autovid.data.live_sources import live_source, without_password
from autovid.errors import DataError
from autovid.export.classifier import VideoClassifier
from autovid.export.prediction import Prediction, likeliest, score
from autovid.run.progress import duration

WINDOW = 2.0  # seconds
SILENCE = 2.0  # seconds without a frame that are worth a word


def follow(
    classifier: VideoClassifier,
    source: str,
    *,
    say: Callable[[str], None],
    window: float | None = None,
    give_up: float | None = None,
    every: float = 1.0,
) -> Iterator[Prediction]:
    """Predict the last `window` seconds of a live source, `every` so many seconds, as long as frames come.

    `source`: a growing file, /dev/videoN, tcp://HOST:PORT or rtsp://HOST/PATH. By default a window is two seconds, or
    as many frames as a clip spans. Seconds count from the first frame. `say` is told where frames stop and come again;
    a source that stops is opened again, without end or until nothing has come for `give_up` seconds. Raises ConfigError
    and DataError for what cannot be followed, DataError where no frame has come at all.
    """
    clip, name = classifier.interface.clip, without_password(source)
    least = 1 if window is not None else least_frames(clip)
    with LiveFrames(live_source(source), window or WINDOW, least, partial(centre_square, crop=clip.crop)) as live:
        seen, silent = 0, False
        heard = due = time.monotonic()
        while True:
            due = max(due + every, time.monotonic())
            time.sleep(max(0.0, due - time.monotonic()))
            waited = time.monotonic() - heard
            if live.count > seen:
                if silent:
                    say(f"frames again, after {duration(waited)}")
                seen, heard, silent = live.count, time.monotonic(), False
                (scored,) = score(classifier, [_window(live, clip)], name)
                yield likeliest(classifier, scored, name)
            elif live.fatal or (give_up is not None and waited >= give_up):
                if not seen:
                    raise DataError(f"{name}: {live.reason or 'no frame has come'}")
                return
            elif waited >= SILENCE and not silent:
                silent = True
                say(f"no frames from {name}{live.reason and f' ({live.reason})'}; waiting for more")


def _window(live: LiveFrames, clip: Clip) -> Window:
    """Return what the buffer holds, in as many clips as cover it."""
    pixels, seconds = live.snapshot()
    indices = window_indices(len(pixels), clip)
    return Window(float(seconds[0]), float(seconds[-1]), pixels[indices])
