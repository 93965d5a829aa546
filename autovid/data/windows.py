"""A video of any length as clips that cover it: all of it at once, or window by window along its timeline."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from autovid.clip import Clip
from autovid.data.augment import crop_at, shrink
from autovid.data.frame_folder import open_video
from autovid.data.sampling import span, test_indices
from autovid.data.video import VideoError
from autovid.errors import ConfigError, DataError

SLACK = 1e-3  # of a frame's time, that a window may be shorter by: so much may be lost where it is written
MOST_CLIPS = 10  # of a window: the clips of the usual ten views


class Window(NamedTuple):
    """The part of a video from `start` to `end` seconds, as clips of their centre crop: uint8 (N, T, H, W, 3)."""

    start: float
    end: float
    pixels: NDArray[np.uint8]


def read_windows(path: Path, clip: Clip, seconds: float | None = None) -> Iterator[Window]:
    """The windows of a video file or folder of frames, in order, each of `seconds`; by default the video is one window.

    A rest shorter than half a window joins the one before it. Each window is seen in as many clips, evenly spread, as
    it takes to cover it, ten at most. Raises DataError, with the path, when it comes to what cannot be read, and
    ConfigError for windows shorter than the time of a frame.
    """
    try:
        with open_video(path) as file:
            step = float(file.seconds[-1] - file.seconds[0]) / max(1, len(file) - 1)
            if seconds is not None and seconds < step * (1 - SLACK):
                raise ConfigError(f"{path}: windows of {seconds:g} s are shorter than a frame; give {step:.4g} or more")
            for start, end, first, last in _cut(file.seconds, file.seconds[-1] + step, seconds):
                indices = first + test_indices(last - first, clip, covering(last - first, clip))
                frames = file.frames(indices.reshape(-1), partial(shrink, short_side=clip.crop))
                squares = crop_at(frames, clip.crop, 0.5)
                yield Window(start, end, squares.reshape(*indices.shape, *squares.shape[1:]))
    except VideoError as error:
        raise DataError(f"{path}: {error}") from error


def covering(frames: int, clip: Clip) -> int:
    """How many clips cover this many frames, ten at most; one where a clip is spread over all of them anyway."""
    return 1 if clip.sampling == "uniform" else min(MOST_CLIPS, -(-frames // span(clip)))


def _cut(seconds: NDArray[np.float64], end: float, length: float | None) -> Iterator[tuple[float, float, int, int]]:
    """Start and end (seconds), first frame and the one after the last, of each window that has frames."""
    count = 1 if length is None else max(1, int(end / length + 0.5))
    edges = [0.0, *(number * (length or 0.0) for number in range(1, count)), float(end)]
    places = np.searchsorted(seconds, edges).tolist()
    for start, stop, first, last in zip(edges, edges[1:], places, [*places[1:-1], len(seconds)]):
        if first < last:
            yield start, stop, first, last
