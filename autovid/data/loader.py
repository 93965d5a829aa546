"""Batches of clips for training and for evaluation, read in this process or in worker processes."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from autovid.clip import Clip
from autovid.data.clips import ClipReader, Key, Loaded, check_views
from autovid.data.faults import FaultLog
from autovid.data.index import Video
from autovid.data.workers import run_in_order
from autovid.errors import DataError


class Batch(NamedTuple):
    """x float32 (B, 3, T, H, W), normalised, channels_last_3d; y int64 (B,); video int64 (B,): index in the split."""

    x: torch.Tensor
    y: torch.Tensor
    video: torch.Tensor


class ClipLoader:
    """Clips of a split of videos, in batches. What comes out does not depend on `workers`.

    Training (`batches`): an endless stream in which epochs follow each other without a seam, each a permutation of the
    videos; batch i is a pure function of (seed, i). Scale jitter `jitter` (the short side, uniform in [a, b] pixels,
    default 8/7 to 10/7 of the crop, the published ratios), one random crop for all frames, and with `flip` a mirror
    image half of the time.
    Evaluation (`views`): every video in order with its views: "center", "10-center" or "10-lcr" (10 clips in time; one
    centre crop, or left, centre and right); the short side is resized to the crop.

    A broken video is noted in `faults`; training takes another in its place, evaluation leaves it out.
    Raises DataError where too many videos are broken.
    """

    def __init__(
        self,
        videos: Sequence[Video],
        root: Path,
        clip: Clip,
        *,
        batch: int,
        train: bool,
        seed: int = 0,
        workers: int = 0,
        jitter: tuple[int, int] | None = None,
        flip: bool = True,
        views: str = "center",
        faults: FaultLog | None = None,
    ) -> None:
        check_views(views)
        if not videos:
            raise DataError("no videos to load")
        self.clip, self.batch, self.workers, self.seed = clip, batch, workers, seed
        jitter = jitter or (round(clip.crop * 8 / 7), round(clip.crop * 10 / 7))
        self._reader = ClipReader(tuple(videos), Path(root), clip, seed, jitter, flip and train, views)
        self._labels = np.array([video.label for video in videos], dtype=np.int64)
        self.faults = faults if faults is not None else FaultLog(len(videos))
        self._scale = 1 / (255 * torch.tensor(clip.std))
        self._shift = -torch.tensor(clip.mean) / torch.tensor(clip.std)

    @property
    def steps_per_epoch(self) -> int:
        """Batches after which every video has been seen at least once."""
        return -(-len(self._labels) // self.batch)

    def batches(self, first_step: int, last_step: int) -> Iterator[Batch]:
        """Training batches first_step .. last_step - 1 of the endless stream."""
        tasks = (self._keys(step) for step in range(first_step, last_step))
        for loaded in self._loaded(ClipReader.train_batch, tasks):
            yield self._batch(loaded.pixels, loaded.videos)

    def views_batches(self) -> Iterator[Batch]:
        """All views of all videos in order, `batch` clips at a time; the last batch may be smaller."""
        pixels, videos, held = [], [], 0
        for loaded in self._loaded(ClipReader.view_clips, range(len(self._labels))):
            pixels.append(loaded.pixels)
            videos.append(loaded.videos)
            held += len(loaded.videos)
            if held >= self.batch:
                everything, shown = np.concatenate(pixels), np.concatenate(videos)
                whole = held - held % self.batch
                for i in range(0, whole, self.batch):
                    yield self._batch(everything[i : i + self.batch], shown[i : i + self.batch])
                pixels, videos, held = [everything[whole:]], [shown[whole:]], held - whole
        if held:
            yield self._batch(np.concatenate(pixels), np.concatenate(videos))

    def _keys(self, step: int) -> list[Key]:
        places = range(step * self.batch, (step + 1) * self.batch)
        count = len(self._labels)
        return [Key(p // count, p % count, int(_order(self.seed, p // count, count)[p % count])) for p in places]

    def _loaded(self, work: Callable[[ClipReader, Any], Loaded], tasks: Iterable[Any]) -> Iterator[Loaded]:
        for loaded in run_in_order(work, self._reader, tasks, self.workers):
            for fault in loaded.faults:
                self.faults.add(fault.path, fault.reason)
            yield loaded

    def _batch(self, pixels: NDArray[np.uint8], videos: NDArray[np.int64]) -> Batch:
        # The pixels lie in memory as channels_last_3d wants them, and arithmetic keeps that order.
        x = torch.from_numpy(np.ascontiguousarray(pixels)).to(torch.float32)
        x.mul_(self._scale).add_(self._shift)
        return Batch(x.permute(0, 4, 1, 2, 3), torch.from_numpy(self._labels[videos]), torch.from_numpy(videos))


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    return np.random.default_rng((seed, epoch)).permutation(count)
