"""A folder of numbered JPEG frames, read like a video: only the pictures that are wanted are decoded."""

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from autovid.data.file_lookup import FRAME
from autovid.data.images import StillImage, is_image
from autovid.data.video import MAX_FRAMES, ClipBuffer, JpegDecoder, Pixels, VideoError, VideoFile

RATE = 25  # frames a second that a folder is taken to have, since it tells none
COLOURS = ("", "img_", "image_", "frame_")  # names of colour frames that may lie beside others, of optical flow say


class FrameFolder:
    """An open folder of frames, or its frames numbered `start` to `end - 1`: `len()` frames in the order of numbers.

    The naming is found by looking: whatever stands before the number, with zeros in front or without (`00001.jpg`,
    `img_00001.jpg`, `7.jpeg`); of several series the largest. A frame must be a file of the folder itself, no link.
    The same interface as VideoFile; every method raises VideoError.

    `seconds` (len,): when each frame is shown, at 25 a second from the first of the folder on.
    `numbers` (len,): each frame's number, what `start` and `end` refer to.
    """

    seconds: NDArray[np.float64]

    @property
    def marks(self) -> NDArray[np.int64]:
        """(len,): what `start` and `end` are compared with."""
        return self.numbers

    def __init__(self, path: Path, start: float | None = None, end: float | None = None) -> None:
        self._path = path
        self._names = _series(path)
        self._decoder = JpegDecoder()
        numbers = np.array(sorted(self._names), dtype=np.int64)
        kept = (numbers >= (start or 0)) & (numbers < (np.inf if end is None else end))
        self.numbers = numbers[kept]
        if not len(self.numbers):
            raise VideoError(f"no frames from number {start or 0:g} to before {np.inf if end is None else end:g}")
        self.seconds = (self.numbers - numbers[0]) / RATE

    def __enter__(self) -> "FrameFolder":
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        pass

    def __len__(self) -> int:
        return len(self.numbers)

    def frames(self, indices: NDArray[np.int64], take: Callable[[Pixels], Pixels]) -> Pixels:
        """(len(indices), ...): what `take` makes of the RGB frames (H, W, 3) with these places, from 0."""
        clip = ClipBuffer(len(indices))
        for place in np.unique(indices).tolist():
            clip.put(indices == place, take(self._decoder.read(self._file(int(self.numbers[place])))))
        return clip.pixels

    def every(self, short_side: int) -> Iterator[Pixels]:
        """All frames in order, RGB (H, W, 3), made small by `fit`."""
        shapes = set()
        for number in self.numbers.tolist():
            image = self._decoder.read(self._file(number), short_side)
            shapes.add(image.shape)
            if len(shapes) > 1:
                raise VideoError(f"{self._names[number]}: frames of different sizes")
            yield image

    def check(self) -> None:
        """Decodes every frame. Raises VideoError where one is damaged or of another size."""
        sizes = set()
        for number in self.numbers.tolist():
            frame = self._decoder.decode(self._file(number))
            sizes.add((frame.width, frame.height))
            if len(sizes) > 1:
                raise VideoError(f"{self._names[number]}: frames of different sizes")

    def _file(self, number: int) -> Path:
        return self._path / self._names[number]


def open_video(
    path: Path, start: float | None = None, end: float | None = None
) -> VideoFile | FrameFolder | StillImage:
    """A video file, a folder of frames or an image, open; `start` and `end` are seconds, of a folder numbers.

    Raises VideoError.
    """
    if path.is_dir():
        return FrameFolder(path, start, end)
    return StillImage(path, start, end) if is_image(str(path)) else VideoFile(path, start, end)


def write_frames(path: Path, frames: Iterable[Pixels], quality: int) -> None:
    """Writes RGB frames (H, W, 3) as path/00001.jpg and so on; `quality` is the JPEG library's, 95 its best."""
    path.mkdir(parents=True)
    for number, frame in enumerate(frames, 1):
        Image.fromarray(frame).save(path / f"{number:05d}.jpg", quality=quality)


def _series(folder: Path) -> dict[int, str]:
    """The file names of the folder's frames by their numbers."""
    found: dict[tuple[str, str], dict[int, str]] = defaultdict(dict)
    try:
        with os.scandir(folder) as entries:
            for count, entry in enumerate(entries):
                if count > MAX_FRAMES:
                    raise VideoError(f"more than {MAX_FRAMES:,} files")
                match = FRAME.fullmatch(entry.name)
                if match and not entry.name.startswith(".") and entry.is_file(follow_symlinks=False):
                    series = found[match["prefix"], match["suffix"]]
                    if series.setdefault(int(match["number"]), entry.name) != entry.name:
                        raise VideoError(f"two files of one number: {entry.name}, {series[int(match['number'])]}")
    except OSError as error:
        raise VideoError(error.strerror or str(error)) from error
    if not found:
        raise VideoError("a folder without numbered JPEG files, 00001.jpg say")
    most = max(map(len, found.values()))
    largest = sorted((name for name, series in found.items() if len(series) == most), key=_preferred)
    if len(largest) > 1 and _preferred(largest[0])[0] == _preferred(largest[1])[0]:
        raise VideoError(
            f"several series of frames: {', '.join(sorted(min(found[name].values()) for name in largest))}"
        )
    return found[largest[0]]


def _preferred(series: tuple[str, str]) -> tuple[int, str]:
    prefix = series[0].lower()
    return (COLOURS.index(prefix) if prefix in COLOURS else len(COLOURS)), series[0]
