"""Decoded frames kept in memory, so that a video that is seen again is not decoded again.

The frames lie in one piece of memory without a name, which all processes of a loader map, and which is gone when the
last of them is, however it ends. It is filled by whichever process comes to a video first, and nothing leaves it: once
it is full, further videos are decoded each time.

Whole frames are kept, since a random crop (autovid.data.transforms) is cut out of any part of one, at any scale, in one
step. A video is kept with all its frames, and only where all of them decode: then each is what its format defines,
whatever else is decoded with it. Any other video is decoded each time as without a cache, so that it fails at the same
clips. All pixels are therefore those of a loader without a cache, to the bit.
"""

import fcntl
import mmap
import os
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import reduction
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from autovid.data.images import open_video
from autovid.data.index import Video
from autovid.data.shards import Place, Root
from autovid.data.video import OpenVideo, Pixels, VideoError
from autovid.fileio import size_text
from autovid.measure import spare_memory

CacheSize: TypeAlias = int | Literal["auto", "off"]  # bytes; auto: where a set fits
FRACTION = 4  # of the spare memory one in so many is used by `auto`
LARGEST = 16  # a video of more than one in so many of the bytes is not kept: each process decodes one beside the cache
PROBES = 16  # videos that are opened to estimate a set
ALIGNED = 64  # bytes

NEW, KEPT, LEFT_OUT = range(3)  # states of a video
STATE, OFFSET, LENGTH, HEIGHT, WIDTH, COLUMNS = range(6)  # columns of the table, a row a video


class KeptVideo(OpenVideo):
    """A video whose frames are in memory, as if it were open."""

    def __init__(self, pixels_THW3: Pixels) -> None:
        self._pixels = pixels_THW3

    def __len__(self) -> int:
        return len(self._pixels)

    def frames(self, indices: NDArray[np.int64], take: Callable[[Pixels], Pixels]) -> Pixels:
        """Return (len(indices), ...): `take` of the RGB frames (len(indices), H, W, 3) with these numbers."""
        return np.ascontiguousarray(take(self._pixels[indices]))


class FrameCache:
    """The frames of `videos` (paths relative to `root`) in `size` bytes at most, for this process and its workers.

    Memory is taken as it is filled; `expected` is an estimate of what all the videos take. Pickling hands the same
    memory to a process that is being started, and is good for nothing else. `close`, or the end of a context, lets go
    of the memory, which is free when the workers are gone, too.
    """

    _file: int | None

    def __init__(self, videos: Iterable[Video], root: Root, size: int, expected: int | None = None) -> None:
        places = ((str(root.absolute() / video.path), video.start, video.end) for video in videos)
        self._numbers = {place: number for number, place in enumerate(dict.fromkeys(places))}
        self.size, self._expected = size, expected
        self._map(_memory_file(self._header + size))

    def __getstate__(self) -> tuple[Any, ...]:
        assert self._file is not None, "closed"
        return self._numbers, self.size, self._expected, reduction.DupFd(self._file)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self._numbers, self.size, self._expected, file = state
        self._map(file.detach())

    def __enter__(self) -> "FrameCache":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __str__(self) -> str:
        """Write its size in words: "0.3 GB", or "up to 2.0 GB" where nothing was estimated."""
        return f"up to {size_text(self.size)}" if self._expected is None else size_text(self._expected)

    def open(self, path: Place, start: float | None, end: float | None) -> OpenVideo:
        """Open a video as `open_video` does, from memory where it is kept; keep it if it is new. Raises VideoError."""
        number = self._numbers.get((str(path), start, end))
        if number is None or self._file is None:
            return open_video(path, start, end)
        if self._table[number, STATE] == NEW:
            self._keep(number, self._decoded(path, start, end))
        kept = self._kept(number)
        return open_video(path, start, end) if kept is None else kept

    @property
    def used(self) -> int:
        """Bytes of frames that are kept."""
        return 0 if self._file is None else int(self._used[0])

    def close(self) -> None:
        """Let go of the memory; videos are decoded from now on."""
        if self._file is not None:
            self._file = None
            del self._used, self._table, self._frames, self._views
            self._release()

    @property
    def _header(self) -> int:
        """Bytes before the frames: how many of those are used, and the table."""
        return _aligned(8 * (1 + COLUMNS * len(self._numbers)))

    def _map(self, file: int) -> None:
        self._file = file
        self._release = weakref.finalize(self, os.close, file)
        memory = mmap.mmap(file, self._header + self.size)
        self._used = np.frombuffer(memory, np.int64, 1)
        self._table = np.frombuffer(memory, np.int64, COLUMNS * len(self._numbers), 8).reshape(-1, COLUMNS)
        self._frames = np.frombuffer(memory, np.uint8, self.size, self._header)
        self._views: dict[int, Pixels] = {}
        self._threads = threading.Lock()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Exclude other threads and processes. The lock of a process that is killed goes with it."""
        assert self._file is not None
        with self._threads:
            fcntl.lockf(self._file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.lockf(self._file, fcntl.LOCK_UN)

    def _decoded(self, path: Place, start: float | None, end: float | None) -> Pixels | None:
        """Return all frames of a video; None where one of them is broken, or they are too large to be kept."""
        try:
            with open_video(path, start, end) as video:
                if len(video) * _first_frame(video).nbytes > min(self.size // LARGEST, self.size - self.used):
                    return None
                return video.frames(np.arange(len(video)), _whole)
        except VideoError:
            return None

    def _keep(self, number: int, pixels_THW3: Pixels | None) -> None:
        """Put frames into the memory where there is room, unless another process has done it."""
        with self._locked():
            row, first = self._table[number], int(self._used[0])
            if row[STATE] != NEW:
                return
            if pixels_THW3 is None or pixels_THW3.nbytes > self.size - first:
                row[STATE] = LEFT_OUT
                return
            self._frames[first : first + pixels_THW3.nbytes] = pixels_THW3.reshape(-1)
            row[OFFSET], row[LENGTH : WIDTH + 1] = first, pixels_THW3.shape[:3]
            self._used[0] = min(self.size, _aligned(first + pixels_THW3.nbytes))
            row[STATE] = KEPT  # last: a process may be killed at any line

    def _kept(self, number: int) -> KeptVideo | None:
        if number not in self._views:
            if self._table[number, STATE] != KEPT:
                return None
            with self._locked():  # so that all is seen that was written before the state
                _, first, *shape = self._table[number].tolist()
            pixels = self._frames[first : first + 3 * int(np.prod(shape))].reshape(*shape, 3)
            pixels.flags.writeable = False
            self._views[number] = pixels
        return KeptVideo(self._views[number])


def choose_cache(
    choice: CacheSize, videos: Sequence[Video], root: Root, say: Callable[[str], None] = print
) -> FrameCache | None:
    """Return a cache for `videos`, or None where there is to be none, and `say` in a line what was chosen.

    auto: where all frames, by an estimate, fit into a quarter of the memory that is to spare here, divided among the
    workers on this machine ($LOCAL_WORLD_SIZE). A number of bytes is taken as far as there is memory.
    """
    if choice == "off":
        return None
    spare = spare_memory(torch.device("cpu")) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    size, needed = (spare // FRACTION, frames_size(videos, root)) if choice == "auto" else (min(choice, spare), None)
    if needed is not None and needed > size:
        say(f"decoded frames are not kept in memory: {size_text(needed)}, and {size_text(size)} may be used (--cache)")
        return None
    cache = FrameCache(videos, root, size, needed)
    say(f"decoded frames are kept in memory: {cache}")
    return cache


def frames_size(videos: Sequence[Video], root: Root) -> int:
    """Estimate the bytes of all decoded frames from some of the videos, evenly spread; broken ones count nothing."""
    sizes = []
    for number in np.unique(np.linspace(0, len(videos) - 1, min(len(videos), PROBES)).round().astype(int)).tolist():
        try:
            with open_video(root / videos[number].path, videos[number].start, videos[number].end) as video:
                sizes.append(len(video) * _first_frame(video).nbytes)
        except VideoError:
            continue
    return len(videos) * sum(sizes) // len(sizes) if sizes else 0


def _first_frame(video: OpenVideo) -> Pixels:
    return video.frames(np.zeros(1, dtype=np.int64), _whole)[:1]


def _whole(frame: Pixels) -> Pixels:
    return frame


def _aligned(size: int) -> int:
    return -(-size // ALIGNED) * ALIGNED


def _memory_file(size: int) -> int:
    """Return the descriptor of a new file that has no name: of memory on Linux, elsewhere in the temporary folder."""
    if hasattr(os, "memfd_create"):
        file = os.memfd_create("autovid-frames")
    else:
        with tempfile.TemporaryFile() as temporary:
            file = os.dup(temporary.fileno())
    os.ftruncate(file, size)
    return file
