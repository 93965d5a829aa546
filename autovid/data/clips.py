"""From a video of the index to clips of pixels: what a data worker does.

Shapes: N clips, T frames, H = W = crop.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from autovid.clip import Clip
from autovid.data.augment import crop_at, shrink
from autovid.data.auto_augment import auto_augmented
from autovid.data.color import ColorJitter
from autovid.data.crops import Cutting
from autovid.data.frame_folder import open_video
from autovid.data.index import Video
from autovid.data.sampling import test_indices, train_indices
from autovid.data.video import VideoError
from autovid.data.views import views_of
from autovid.errors import DataError

RETRIES = 100
Pixels = NDArray[np.uint8] | NDArray[np.float32]


class Fault(NamedTuple):
    """A video that could not be read."""

    path: str
    reason: str


class Loaded(NamedTuple):
    """Pixels (N, T, H, W, 3) of 0 to 255, the videos they show (N,), and the faults met on the way.

    Where colours are jittered they are float32 and may leave the range; else they are uint8.
    """

    pixels: Pixels
    videos: NDArray[np.int64]
    faults: list[Fault]


class Key(NamedTuple):
    """One training sample: the video whose turn it is at this place of this epoch."""

    epoch: int
    place: int
    video: int


class ClipReader(msgspec.Struct, frozen=True):
    """How the videos of one split become clips. Every method is a pure function of its arguments."""

    videos: tuple[Video, ...]
    root: Path
    clip: Clip
    seed: int
    cutting: Cutting  # of training clips, and so is the next
    auto_augment: bool
    color: ColorJitter | None
    views: str

    def train_clips(self, keys: Sequence[Key]) -> Loaded:
        """One random clip for each key; a broken video is replaced by another of the split."""
        faults: list[Fault] = []
        clips, videos = zip(*(self._train_clip(key, faults) for key in keys))
        return Loaded(np.stack(clips), np.array(videos, dtype=np.int64), faults)

    def _train_clip(self, key: Key, faults: list[Fault]) -> tuple[Pixels, int]:
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
        with open_video(self.root / video.path, video.start, video.end) as file:
            indices = train_indices(len(file), self.clip, rng)
            frames = file.frames(indices, self.cutting.draw(rng).cut)
        if self.auto_augment:
            frames = auto_augmented(frames, rng)
        return self.color.draw(rng).apply(frames) if self.color else frames

    def view_clips(self, video: int) -> Loaded:
        """All views of one video, in order: each clip, and of each clip each crop. None where the video is broken."""
        count, places, side = views_of(self.views)
        entry, crop, faults = self.videos[video], self.clip.crop, []
        try:
            with open_video(self.root / entry.path, entry.start, entry.end) as file:
                indices = test_indices(len(file), self.clip, count)
                frames = file.frames(indices.reshape(-1), partial(shrink, short_side=side or crop))
        except VideoError as error:
            count, frames = 0, np.empty((0, crop, crop, 3), dtype=np.uint8)
            faults.append(Fault(entry.path, str(error)))
        frames = frames.reshape(count, self.clip.frames, *frames.shape[1:])
        views = np.stack([crop_at(frames, crop, place) for place in places], axis=1)
        pixels = views.reshape(-1, *views.shape[2:])
        return Loaded(pixels, np.full(len(pixels), video, dtype=np.int64), faults)


def read_clip(
    path: Path, clip: Clip, start: float | None = None, end: float | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """The "center" view of a video: pixels (T, H, W, 3), and when each frame is shown, (T,) seconds.

    `start` and `end` are those of an index, where it names a piece of the video. Raises DataError, with the path.
    """
    try:
        with open_video(path, start, end) as file:
            indices = test_indices(len(file), clip, 1)[0]
            frames = file.frames(indices, partial(shrink, short_side=clip.crop))
            seconds = file.seconds[indices]
    except VideoError as error:
        raise DataError(f"{path}: {error}") from error
    return crop_at(frames, clip.crop, views_of("center").places[0]), seconds


def generator(stream: str, *numbers: int) -> np.random.Generator:
    """Random numbers for one purpose: a pure function of its name and these numbers."""
    return np.random.default_rng((*stream.encode(), 256, *numbers))
