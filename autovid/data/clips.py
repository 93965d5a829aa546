"""From a video of the index to clips of pixels: what a data worker does. Imports no torch, so that workers start fast.

Shapes: V views, T frames, H = W = crop.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from autovid.clip import Clip
from autovid.data.index import Video
from autovid.data.sampling import test_indices, train_indices
from autovid.data.video import VideoError, VideoFile
from autovid.errors import ConfigError, DataError

VIEWS = {"center": (1, (0.5,)), "10-center": (10, (0.5,)), "10-lcr": (10, (0.0, 0.5, 1.0))}
RETRIES = 100


class Fault(NamedTuple):
    """A video that could not be read."""

    path: str
    reason: str


class Loaded(NamedTuple):
    """Pixels uint8 (N, T, H, W, 3), the videos they show (N,), and the faults met on the way."""

    pixels: NDArray[np.uint8]
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
    jitter: tuple[int, int]
    flip: bool
    views: str

    def train_batch(self, keys: Iterable[Key]) -> Loaded:
        """One random clip for each key; a broken video is replaced by another of the split."""
        faults: list[Fault] = []
        clips, videos = zip(*(self._train_clip(key, faults) for key in keys))
        return Loaded(np.stack(clips), np.array(videos, dtype=np.int64), faults)

    def _train_clip(self, key: Key, faults: list[Fault]) -> tuple[NDArray[np.uint8], int]:
        rng = np.random.default_rng((self.seed, key.epoch, key.place))
        video = key.video
        for _ in range(RETRIES):
            try:
                return self._random_clip(self.videos[video], rng), video
            except VideoError as error:
                faults.append(Fault(self.videos[video].path, str(error)))
            video = int(rng.integers(len(self.videos)))
        raise DataError(f"{RETRIES} videos in a row cannot be read, the last {faults[-1].path}: {faults[-1].reason}")

    def _random_clip(self, video: Video, rng: np.random.Generator) -> NDArray[np.uint8]:
        crop = self.clip.crop
        with VideoFile(self.root / video.path, video.start, video.end) as file:
            short_side = int(rng.integers(self.jitter[0], self.jitter[1] + 1))
            frames = file.frames(train_indices(len(file), self.clip, rng), short_side)
        top, left = (int(rng.integers(side - crop + 1)) for side in frames.shape[1:3])
        cut = frames[:, top : top + crop, left : left + crop]
        return cut[:, :, ::-1] if self.flip and rng.random() < 0.5 else cut

    def view_clips(self, video: int) -> Loaded:
        """All views of one video, in order: every clip, and of each clip every crop. None where it is broken."""
        clips, positions = VIEWS[self.views]
        entry, crop = self.videos[video], self.clip.crop
        try:
            with VideoFile(self.root / entry.path, entry.start, entry.end) as file:
                indices = test_indices(len(file), self.clip, clips)
                frames = file.frames(indices.reshape(-1), crop)
        except VideoError as error:
            empty = np.empty((0, self.clip.frames, crop, crop, 3), dtype=np.uint8)
            return Loaded(empty, np.empty(0, dtype=np.int64), [Fault(entry.path, str(error))])
        frames = frames.reshape(clips, self.clip.frames, *frames.shape[1:])
        views = np.stack([_crop(frames, crop, position) for position in positions], axis=1)
        pixels = views.reshape(-1, *views.shape[2:])
        return Loaded(pixels, np.full(len(pixels), video, dtype=np.int64), [])


def _crop(frames: NDArray[np.uint8], crop: int, position: float) -> NDArray[np.uint8]:
    """A square at this position (0..1) along the longer side; the shorter side is `crop`. (..., H, W, 3)"""
    height, width = frames.shape[-3:-1]
    top, left = int((height - crop) * position), int((width - crop) * position)
    return frames[..., top : top + crop, left : left + crop, :]


def check_views(views: str) -> None:
    """Raises ConfigError where no views have this name."""
    if views not in VIEWS:
        raise ConfigError(f"views {views!r}: choose one of {', '.join(VIEWS)}")
