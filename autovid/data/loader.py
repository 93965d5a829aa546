"""Batches of clips for training and for evaluation, read in this process or in worker processes."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from autovid.clip import Clip
from autovid.data.bad_videos import FaultLog
from autovid.data.clips import ClipReader, LoadedClips, Pixels, SampleKey, generator
from autovid.data.frame_cache import FrameCache
from autovid.data.index import Video
from autovid.data.order import BalancedOrder
from autovid.data.shards import Root
from autovid.data.transforms import ColorJitter, Crops, Cutting, jitter_range
from autovid.data.views import views_of
from autovid.data.workers import WorkerPool
from autovid.errors import ConfigError, DataError


class Batch(NamedTuple):
    """x float32 (B, 3, T, H, W), normalised, channels_last_3d; y int64 (B,); video int64 (B,): index in the split.

    Of videos with several classes y is float32 (B, classes), as `multi_hot` makes it.
    """

    x: torch.Tensor
    y: torch.Tensor
    video: torch.Tensor


class ClipLoader:
    """Clips of a split of videos, in batches. They do not depend on the number of workers.

    Training (`batches`): an endless stream in which epochs follow each other without a seam, each a permutation of the
    videos, or with `balance` in an order in which every class comes alike (`autovid.data.order`); batch i is a pure
    function of (seed, i). A clip has one random crop for all its frames as `crops` says, by
    default after a scale jitter (the short side uniform in `jitter`, pixels, by default `jitter_range` of the crop),
    with `flip` a mirror image half of the time, and then with `auto_augment` one sub-policy of AutoAugment,
    and colours as `color_jitter` and `lighting` say (`autovid.data.transforms`; 0 for none).
    Evaluation (`views_batches`): every video in order with its `views` (`autovid.data.views`). The short side is
    resized to the crop, or to what the views say.

    A broken video is noted in `faults`; training takes another of the split in its place, evaluation leaves it out
    (another would count twice).

    `shard` is (rank, number) of one of several loaders that split the work: of every training batch each has its part
    of the `batch` clips, in evaluation every number-th video.
    `workers`: processes that read videos, 0 for none; `close` ends them, and so does the end of the program.
    `classes`: how many a set has whose videos have several of them; 0 where each has one.
    `cache` keeps decoded frames, and changes no clip; its owner closes it.
    Raises ConfigError; DataError where too many videos are broken or a worker process has died.
    """

    def __init__(
        self,
        videos: Sequence[Video],
        root: Root,
        clip: Clip,
        *,
        batch: int,
        train: bool,
        seed: int = 0,
        workers: int = 0,
        jitter: tuple[int, int] | None = None,
        crops: Crops = "jitter",
        area: tuple[float, float] = (0.08, 1.0),
        flip: bool = True,
        auto_augment: bool = False,
        color_jitter: float = 0.0,
        lighting: float = 0.0,
        balance: bool = False,
        classes: int = 0,
        views: str = "center",
        faults: FaultLog | None = None,
        shard: tuple[int, int] = (0, 1),
        cache: FrameCache | None = None,
    ) -> None:
        low, high = jitter or jitter_range(clip.crop)
        _check(videos, clip, batch, workers, (low, high), views)
        self.batch = batch
        self.faults = FaultLog(len(videos)) if faults is None else faults
        self._seed = seed
        self._train = train
        self._rank, self._ranks = shard
        if train and batch % self._ranks:
            raise ConfigError(f"a batch of {batch} clips cannot be shared by {self._ranks} workers; give a multiple")
        self._labels = np.array([video.label for video in videos], dtype=np.int64)
        self._sets = [video.labels for video in videos] if classes else []
        self._classes = classes
        self._balanced = BalancedOrder(seed, [video.labels for video in videos]) if balance else None
        cutting = Cutting(crops, clip.crop, (low, high), area, flip)
        color = ColorJitter(color_jitter, lighting) if color_jitter or lighting else None
        reader = ClipReader(tuple(videos), root.absolute(), clip, seed, cutting, auto_augment, color, views, cache)
        read: Callable[[Any], LoadedClips] = reader.train_clips if train else reader.view_clips
        self._workers = WorkerPool(read, workers)
        self._clip = clip

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches after which every video has had its turn."""
        return -(-len(self._labels) // self.batch)

    def batches(self, first_step: int, last_step: int) -> Iterator[Batch]:
        """Yield batches first_step .. last_step - 1 of the endless stream of training clips."""
        assert self._train, "a loader made with train=False has views, not batches"
        for loaded in self._loaded(self._keys(step) for step in range(first_step, last_step)):
            yield self._batch(loaded.pixels, loaded.videos)

    def views_batches(self) -> Iterator[Batch]:
        """Yield all views of all videos in order, `batch` clips at a time; the last batch may be smaller."""
        assert not self._train, "a loader made with train=True has batches, not views"
        pixels: list[NDArray[np.uint8]] = []
        videos: list[np.int64] = []
        for loaded in self._loaded(range(self._rank, len(self._labels), self._ranks)):
            pixels.extend(loaded.pixels)  # bytes: views are not jittered
            videos.extend(loaded.videos)
            while len(pixels) >= self.batch:
                yield self._batch(np.stack(pixels[: self.batch]), np.array(videos[: self.batch]))
                del pixels[: self.batch], videos[: self.batch]
        if pixels:
            yield self._batch(np.stack(pixels), np.array(videos))

    def close(self) -> None:
        """End the worker processes, if there are any."""
        self._workers.close()

    def _keys(self, step: int) -> list[SampleKey]:
        """Return the samples of this loader's shard of a batch."""
        count, own = len(self._labels), self.batch // self._ranks
        first = step * self.batch + self._rank * own
        return [SampleKey(*divmod(turn, count), self._video(turn)) for turn in range(first, first + own)]

    def _video(self, turn: int) -> int:
        """Return the video whose turn it is."""
        if self._balanced is not None:
            return self._balanced.video(turn)
        epoch, place = divmod(turn, len(self._labels))
        return int(_order(self._seed, epoch, len(self._labels))[place])

    def _loaded(self, tasks: Iterable[Any]) -> Iterator[LoadedClips]:
        for loaded in self._workers.run(tasks):
            for fault in loaded.faults:
                self.faults.add(fault.path, fault.reason)
            yield loaded

    def _batch(self, pixels: Pixels, videos: NDArray[np.int64]) -> Batch:
        clips = normalised(pixels, self._clip)
        y = torch.from_numpy(self._labels[videos])
        if self._classes:
            y = multi_hot([self._sets[video] for video in videos], self._classes)
        return Batch(clips, y, torch.from_numpy(videos))


def multi_hot(labels: Sequence[Sequence[int]], classes: int) -> torch.Tensor:
    """Return float32 (B, classes): 1 at every label of a video, else 0."""
    y = torch.zeros(len(labels), classes)
    for row, own in zip(y, labels):
        row[list(own)] = 1
    return y


def normalised(pixels: Pixels, clip: Clip) -> torch.Tensor:
    """(B, T, H, W, 3) of 0 to 255 -> float32 (B, 3, T, H, W) by the clip's mean and std, channels_last_3d.

    In pinned memory where this process computes on CUDA: only from there a copy to the device waits for nothing.
    """
    # (B, T, H, W, 3) is what channels_last_3d means by (B, 3, T, H, W): nothing moves from here on. Whole rows are
    # faster than a last axis of 3, and a clip at a time stays in the processor's cache.
    std, mean = np.array(clip.std, dtype=np.float32), np.array(clip.mean, dtype=np.float32)
    width = pixels.shape[3]
    factor, shift = (torch.from_numpy(np.tile(row, width)) for row in (1 / (255 * std), -mean / std))
    x = torch.empty((*pixels.shape[:3], 3 * width), pin_memory=torch.cuda.is_initialized())  # type: ignore[no-untyped-call]
    for normal, clip_pixels in zip(x, pixels):
        normal.copy_(torch.from_numpy(clip_pixels).view(normal.shape)).mul_(factor).add_(shift)
    return x.view(pixels.shape).permute(0, 4, 1, 2, 3)


@lru_cache(maxsize=8)
def _order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    return generator("epoch", seed, epoch).permutation(count)


def _check(videos: Sequence[Video], clip: Clip, batch: int, workers: int, jitter: tuple[int, int], views: str) -> None:
    if not videos:
        raise DataError("no videos to read: the split is empty")
    views_of(views)
    if clip.sampling not in ("dense", "uniform"):
        raise ConfigError(f"sampling {clip.sampling!r}: choose dense or uniform")
    if clip.frames % clip.snippet:
        raise ConfigError(f"{clip.frames} frames are no number of snippets of {clip.snippet}")
    if min(batch, clip.frames, clip.stride, clip.crop) < 1 or workers < 0:
        raise ConfigError("batch, frames, stride and crop must be at least 1, workers at least 0")
    if not clip.crop <= jitter[0] <= jitter[1]:
        raise ConfigError(f"scale jitter {jitter[0]} to {jitter[1]}: must not be below the crop, {clip.crop}, nor fall")
