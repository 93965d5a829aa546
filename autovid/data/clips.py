"""Clips of pixels from videos: which frames, random training clips, the views of a test, windows over a whole video.

Uniform and dense sampling are those of Chen et al., "Deep Analysis of CNN-based Spatio-temporal Representations for
Action Recognition", 2021, arXiv 2010.11757. Functions of a video of n frames return frame numbers in 0..n-1; where a
video is shorter than the clip, its last frame is repeated. Shapes: N clips, T frames, H = W = crop.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from autovid.clip import Clip
from autovid.data.auto_augment import auto_augmented
from autovid.data.frame_cache import FrameCache
from autovid.data.images import open_video
from autovid.data.index import Video
from autovid.data.shards import Place, Root
from autovid.data.transforms import ColorJitter, Cutting, crop_at, shrink
from autovid.data.video import MissingFrames, OpenVideo, VideoError
from autovid.data.views import views_of
from autovid.errors import ConfigError, DataError

RETRIES = 100
SLACK = 1e-3  # of a frame's time, that a window may be shorter by: so much may be lost where it is written
MENDED = 0.25  # of the frames that are read together may be missing
MOST_CLIPS = 10  # of a window: the clips of the usual ten views
Pixels = NDArray[np.uint8] | NDArray[np.float32]
Image = NDArray[np.uint8]


class Fault(NamedTuple):
    """A video that cannot be read."""

    path: str
    reason: str


class LoadedClips(NamedTuple):
    """Pixels (N, T, H, W, 3) of 0 to 255, the videos they show (N,), and the videos that could not be read.

    Where colours are jittered they are float32 and may leave the range; else they are uint8.
    """

    pixels: Pixels
    videos: NDArray[np.int64]
    faults: list[Fault]


class SampleKey(NamedTuple):
    """One training sample: the video whose turn it is at this place of this epoch."""

    epoch: int
    place: int
    video: int


class ClipReader(msgspec.Struct, frozen=True):
    """The reader of the clips of one split. Every method is a pure function of its arguments, with a cache or not."""

    videos: tuple[Video, ...]
    root: Root
    clip: Clip
    seed: int
    cutting: Cutting  # of training clips, and so is the next
    auto_augment: bool
    color: ColorJitter | None
    views: str
    cache: FrameCache | None = None

    def train_clips(self, keys: Sequence[SampleKey]) -> LoadedClips:
        """Read one random clip for each key; another of the split stands in for a broken video."""
        faults: list[Fault] = []
        clips, videos = zip(*(self._train_clip(key, faults) for key in keys))
        return LoadedClips(np.stack(clips), np.array(videos, dtype=np.int64), faults)

    def _train_clip(self, key: SampleKey, faults: list[Fault]) -> tuple[Pixels, int]:
        rng = generator("clip", self.seed, key.epoch, key.place)
        video = key.video
        for _ in range(RETRIES):
            try:
                return self._random_clip(self.videos[video], rng), video
            except VideoError as error:
                faults.append(Fault(self.videos[video].path, str(error)))
            video = int(rng.integers(len(self.videos)))
        raise DataError(f"{RETRIES} videos in a row cannot be read, the last {faults[-1].path}: {faults[-1].reason}")

    def _random_clip(self, video: Video, rng: np.random.Generator) -> Pixels:
        with self._open(video) as file:
            indices = train_indices(len(file), self.clip, rng)
            frames = read_frames(file, indices, self.cutting.draw(rng).cut)
        if self.auto_augment:
            frames = auto_augmented(frames, rng)
        return self.color.draw(rng).apply(frames) if self.color else frames

    def view_clips(self, video: int) -> LoadedClips:
        """Read all views of one video, in order: of each clip each crop. A broken video has none."""
        count, places, side = views_of(self.views)
        entry, crop, faults = self.videos[video], self.clip.crop, []
        try:
            with self._open(entry) as file:
                indices = test_indices(len(file), self.clip, count)
                frames = read_frames(file, indices.reshape(-1), partial(shrink, short_side=side or crop))
        except VideoError as error:
            count, frames = 0, np.empty((0, crop, crop, 3), dtype=np.uint8)
            faults.append(Fault(entry.path, str(error)))
        frames = frames.reshape(count, self.clip.frames, *frames.shape[1:])
        views = np.stack([crop_at(frames, crop, place) for place in places], axis=1)
        pixels = views.reshape(-1, *views.shape[2:])
        return LoadedClips(pixels, np.full(len(pixels), video, dtype=np.int64), faults)

    def _open(self, video: Video) -> OpenVideo:
        path = self.root / video.path
        if self.cache is None:
            return open_video(path, video.start, video.end)
        return self.cache.open(path, video.start, video.end)


class Window(NamedTuple):
    """The part of a video from `start` to `end` seconds, as clips of their centre crop: uint8 (N, T, H, W, 3)."""

    start: float
    end: float
    pixels: NDArray[np.uint8]


def read_clip(
    path: Place, clip: Clip, start: float | None = None, end: float | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Read the "center" view of a video: pixels (T, H, W, 3), and when each frame is shown, (T,) seconds.

    `start` and `end` are those of an index, where it names a piece of the video. Raises DataError, with the path.
    """
    try:
        with open_video(path, start, end) as file:
            indices = test_indices(len(file), clip, 1)[0]
            frames = read_frames(file, indices, partial(shrink, short_side=clip.crop))
            seconds = file.seconds[indices]
    except VideoError as error:
        raise DataError(f"{path}: {error}") from error
    return crop_at(frames, clip.crop, views_of("center").places[0]), seconds


def read_windows(
    path: Path,
    clip: Clip,
    seconds: float | None = None,
    *,
    whole_clips: bool = False,
    counted: Callable[[int], None] = lambda count: None,
    damaged: Callable[[float], None] | None = None,
) -> Iterator[Window]:
    """Read the windows of a video file or folder of frames, in order, each of `seconds`; by default one for the video.

    `whole_clips`: longer, in half seconds, where a clip spans more than that. A rest shorter than half a window joins
    the one before it. Each window is seen in as many clips, evenly spread, as it takes to cover it, ten at most.
    `counted` is told the number of windows before the first is read, `damaged` the start of each that cannot be decoded
    and is left out. Raises DataError, with the path, when it comes to what cannot be read (without `damaged` one window
    is enough), and ConfigError for windows shorter than the time of a frame.
    """
    try:
        with open_video(path) as file:
            step = float(file.seconds[-1] - file.seconds[0]) / max(1, len(file) - 1)
            if seconds is not None and seconds < step * (1 - SLACK):
                raise ConfigError(f"{path}: windows of {seconds:g} s are shorter than a frame; give {step:.4g} or more")
            if seconds is not None and whole_clips:
                seconds = max(seconds, math.ceil(2 * step * least_frames(clip)) / 2)
            cuts = list(_cut(file.seconds, file.seconds[-1] + step, seconds))
            counted(len(cuts))
            parts = [first + window_indices(last - first, clip) for _, _, first, last in cuts]
            squares = read_in_turn(file, [part.reshape(-1) for part in parts], partial(centre_square, crop=clip.crop))
            lost = 0
            for (start, end, _, _), indices, pixels in zip(cuts, parts, squares):
                if pixels is not None:
                    yield Window(start, end, pixels.reshape(*indices.shape, *pixels.shape[1:]))
                    continue
                lost += 1
                if damaged is None or lost == len(cuts):
                    raise VideoError(f"frames from {start:g} to {end:g} s cannot be decoded")
                damaged(start)
    except VideoError as error:
        raise DataError(f"{path}: {error}") from error


def read_frames(file: OpenVideo, indices: NDArray[np.int64], take: Callable[[Image], Image]) -> Image:
    """Read frames of a video; the nearest of the others stand in for a few that cannot be decoded.

    Raises VideoError where these are more than a quarter.
    """
    try:
        return file.frames(indices, take)
    except MissingFrames as error:
        good = np.setdiff1d(indices, error.missing)
        if len(error.missing) > MENDED * len(np.unique(indices)):
            raise
        nearest = good[np.abs(indices[:, None] - good).argmin(1)]
        return file.frames(nearest, take)


def read_in_turn(
    file: OpenVideo, groups: Sequence[NDArray[np.int64]], take: Callable[[Image], Image]
) -> Iterator[Image | None]:
    """Yield `read_frames` of each group of frames, every group behind the one before, in one pass over the video.

    None is for a group of which more than a quarter cannot be decoded.
    """
    frames = file.each(np.concatenate(groups), take)
    ahead, look_again = next(frames, None), True
    for indices in groups:
        images: dict[int, Image] = {}
        while ahead is not None and ahead[0] <= indices.max():
            images[ahead[0]] = ahead[1]
            ahead = next(frames, None)
        if look_again and len(images) < len(np.unique(indices)):
            try:
                yield read_frames(file, indices, take)  # which knows what a seek may miss
                continue
            except MissingFrames:
                look_again = False  # it begins at the first frame: hours, in a video of hours
        yield _mended(images, indices)


def _mended(images: dict[int, Image], indices: NDArray[np.int64]) -> Image | None:
    """Return the images with these numbers, the nearest for a missing one; None where they are too few."""
    good, numbers = np.array(sorted(images), dtype=np.int64), np.unique(indices)
    if len(numbers) - len(good) > MENDED * len(numbers):
        return None
    return np.stack([images[int(good[np.abs(good - number).argmin()])] for number in indices.tolist()])


def centre_square(frames: Image, crop: int) -> Image:
    """Return the centre crop of frames (..., H, W, 3)."""
    return crop_at(shrink(frames, short_side=crop), crop, 0.5)


def train_indices(n: int, clip: Clip, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the (T,) frames of one random clip.

    Dense: a random start, then every `stride`-th frame. Uniform: equal segments, as many as the clip has snippets, and
    one random offset into the segment that all segments share.
    """
    if clip.sampling == "uniform":
        segments, starts = clip.frames // clip.snippet, max(1, n - clip.snippet + 1)
        first = np.floor((np.arange(segments) + rng.random()) * starts / segments).astype(np.int64)
        return _snippets(first, n, clip)
    latest = max(0, n - span(clip))
    return _dense(n, clip, int(rng.integers(latest + 1)))


def test_indices(n: int, clip: Clip, clips: int) -> NDArray[np.int64]:
    """Return the (clips, T) frames of `clips` fixed clips of a video.

    Dense: equally spaced starts, from the first frame to the last start that fits; one clip is the first one.
    Uniform: the middle of each segment, shifted by i frames, -clips/2 <= i < clips/2, and never out of the segment.
    """
    if clip.sampling == "uniform":
        return _shifted(n, clip, np.arange(clips) - clips // 2)
    latest = max(0, n - span(clip))
    return np.stack([_dense(n, clip, int(start)) for start in np.linspace(0, latest, clips)])


def window_indices(n: int, clip: Clip) -> NDArray[np.int64]:
    """Return the (clips, T) frames of the clips that a window of n frames is seen in."""
    return test_indices(n, clip, covering(n, clip))


def least_frames(clip: Clip) -> int:
    """Return the number of frames without which a clip repeats some."""
    return clip.frames if clip.sampling == "uniform" else span(clip)


def span(clip: Clip) -> int:
    """Return the number of frames that a dense clip spans."""
    return (clip.frames - 1) * clip.stride + 1


def covering(frames: int, clip: Clip) -> int:
    """Return the number of clips that cover this many frames: ten at most, one where a clip spans all of them."""
    return 1 if clip.sampling == "uniform" else min(MOST_CLIPS, -(-frames // span(clip)))


def generator(stream: str, *numbers: int) -> np.random.Generator:
    """Return the random numbers of one purpose: a pure function of its name and these numbers."""
    entropy = (*stream.encode(), 256, *numbers)
    # The same numbers as those of the tuple, in half the time; a number of more than 32 bits would be several words.
    return np.random.default_rng(np.array(entropy, dtype=np.uint32) if max(entropy) < 2**32 else entropy)


def _cut(seconds: NDArray[np.float64], end: float, length: float | None) -> Iterator[tuple[float, float, int, int]]:
    """Yield start and end (seconds), first frame and the one after the last, of each window that has frames."""
    count = 1 if length is None else max(1, int(end / length + 0.5))
    edges = [0.0, *(number * (length or 0.0) for number in range(1, count)), float(end)]
    places = np.searchsorted(seconds, edges).tolist()
    for start, stop, first, last in zip(edges, edges[1:], places, [*places[1:-1], len(seconds)]):
        if first < last:
            yield start, stop, first, last


def _dense(n: int, clip: Clip, start: int) -> NDArray[np.int64]:
    return np.minimum(start + clip.stride * np.arange(clip.frames), n - 1)


def _shifted(n: int, clip: Clip, shifts: NDArray[np.int64]) -> NDArray[np.int64]:
    """(len(shifts), T): the middle of every segment and the frames so far beside it, at most to the segment's ends.

    The ends are those of the authors' code. Where a video has fewer frames than segments, theirs draws frames at random
    from a fixed seed; ours keeps one frame a segment.
    """
    segments, starts = clip.frames // clip.snippet, max(1, n - clip.snippet + 1)
    k, twice = np.arange(segments), 2 * segments  # in whole numbers; segment k begins at k * starts / segments
    middles = (2 * k + 1) * starts + twice * shifts[:, None]
    return _snippets(np.clip(middles // twice, k * starts // segments, ((k + 1) * starts - 1) // segments), n, clip)


def _snippets(first: NDArray[np.int64], n: int, clip: Clip) -> NDArray[np.int64]:
    """(..., segments) -> (..., T): the consecutive frames of every segment's snippet."""
    frames: NDArray[np.int64] = np.minimum(first[..., None] + np.arange(clip.snippet), n - 1)
    return frames.reshape(*first.shape[:-1], -1)
