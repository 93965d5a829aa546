"""Pictures read like videos: a folder of numbered JPEG frames, a JPEG image, a record of CIFAR-100 (`FILE#RECORD`).

A record of CIFAR-100 is a byte of the coarse label, one of the fine label, and 3,072 of a 32 x 32 image, its red plane
first, then green and blue, each row by row (Krizhevsky, "Learning multiple layers of features from tiny images", 2009).
"""

import os
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from autovid.data.file_lookup import FRAME, record_of
from autovid.data.shards import Member, Place, Slice
from autovid.data.video import (
    MAX_FRAMES,
    MAX_PIXELS,
    MAX_SIDE,
    ClipBuffer,
    OpenVideo,
    Pixels,
    VideoError,
    VideoFile,
    check_regular,
    fit,
    make_scaler,
    pyav,
    reading,
    upright,
)
from autovid.errors import DataError

MAX_JPEG = 1 << 26  # bytes
EXTENSIONS = (".jpg", ".jpeg")
MAX_IMAGE = 1 << 26  # pixels: 200 MB of RGB
SIDE = 32  # of CIFAR's images
LABELS = 2  # bytes before the image: the coarse label and the fine one
RECORD = LABELS + 3 * SIDE * SIDE  # bytes

# What PIL raises about a file that is damaged or made to do harm.
DAMAGE = (Image.DecompressionBombError, OSError, SyntaxError, ValueError, LookupError, TypeError, MemoryError)
RATE = 25  # frames a second that a folder is taken to have, since it tells none
COLOURS = ("", "img_", "image_", "frame_")  # names of colour frames that may lie beside others, of optical flow say


class FrameFolder(OpenVideo):
    """An open folder of frames, or its frames numbered `start` to `end - 1`: `len()` frames in the order of numbers.

    Any prefix may stand before the number, with zeros in front or without (`00001.jpg`, `img_00001.jpg`, `7.jpeg`); of
    several series the largest counts. A frame must be a file of the folder itself, no link. Every method raises
    VideoError.

    `seconds` (len,) are 25 frames a second from the first of the folder on; `numbers` (len,) are the frames' numbers,
    which `start` and `end` refer to.
    """

    @property
    def marks(self) -> NDArray[np.int64]:
        """(len,): the values that `start` and `end` are compared with."""
        return self.numbers

    def __init__(self, path: Path, start: float | None = None, end: float | None = None) -> None:
        self._path = path
        self._names = frame_names(path)
        self._choose(self._names, start, end)

    def _choose(self, names: Iterable[int], start: float | None, end: float | None) -> None:
        self._decoder = JpegDecoder()
        numbers = np.array(sorted(names), dtype=np.int64)
        kept = (numbers >= (start or 0)) & (numbers < (np.inf if end is None else end))
        self.numbers = numbers[kept]
        if not len(self.numbers):
            until = "on" if end is None else f"to before {end:g}"
            end_of = f"; the last is {numbers[-1]}" if len(numbers) else ""
            raise VideoError(f"no frames from number {start or 0:g} {until}{end_of}")
        self.seconds = (self.numbers - numbers[0]) / RATE

    def frames(self, indices: NDArray[np.int64], take: Callable[[Pixels], Pixels]) -> Pixels:
        """Return (len(indices), ...): `take` of each of the RGB frames (H, W, 3) at these places, from 0."""
        clip = ClipBuffer(len(indices))
        for place in np.unique(indices).tolist():
            clip.put(indices == place, take(self._decoder.read(self._file(int(self.numbers[place])))))
        return clip.pixels

    def all_frames(self, short_side: int) -> Iterator[Pixels]:
        """Yield all frames in order, RGB (H, W, 3), made small by `fit`."""
        for number in self.numbers.tolist():
            image = self._decoder.read(self._file(number), short_side)
            self._check_size(number, image.shape)
            yield image

    def check(self) -> None:
        """Decode every frame. Raises VideoError where one is damaged or of another size."""
        for number in self.numbers.tolist():
            frame = self._decoder.decode(self._file(number))
            self._check_size(number, (frame.height, frame.width))

    def _check_size(self, number: int, size: tuple[int, ...]) -> None:
        if number == self.numbers[0]:
            self._size = size
        if size != self._size:
            raise VideoError(f"{self._file(number).name}: frames of different sizes")

    def _file(self, number: int) -> Path | Slice:
        return self._path / self._names[number]


class JpegDecoder:
    """A decoder of JPEG files to RGB by the converter of videos. Every method raises VideoError, naming the file."""

    def __init__(self) -> None:
        self._context: Any = pyav().CodecContext.create("mjpeg", "r")
        self._context.thread_count = 1
        # Without `explode` missing or damaged parts would be made up, with no message.
        self._context.options = {"max_pixels": str(MAX_PIXELS), "err_detect": "explode"}
        self._scaler = make_scaler()

    def read(self, path: Path | Slice, short_side: int | None = None) -> Pixels:
        """Read (H, W, 3), made small by `fit` where a short side is given."""
        frame = self.decode(path)
        size = fit(frame.height, frame.width, short_side) if short_side else None
        return upright(frame, self._scaler, size)

    def decode(self, path: Path | Slice) -> Any:
        """Decode the picture as it is stored."""
        with reading(f"{path.name}: "):
            with path.open("rb") as file:
                data = file.read(MAX_JPEG)
            if not data.startswith(b"\xff\xd8") or b"\xff\xd9" not in data[-1024:]:
                raise VideoError(f"{path.name}: not a JPEG file, or a truncated one")
            frames: list[Any] = self._context.decode(pyav().Packet(data))
        if len(frames) != 1 or frames[0].is_corrupt or max(frames[0].width, frames[0].height) > MAX_SIDE:
            size = f" of {frames[0].width}x{frames[0].height} pixels" if frames else ""
            raise VideoError(f"{path.name}: a picture{size} that cannot be read")
        return frames[0]


class PackedFrames(FrameFolder):
    """A folder of frames in a shard, open like one on the disk."""

    def __init__(self, member: Member, start: float | None = None, end: float | None = None) -> None:
        self._content, self._slices = member.open_frames()
        self._choose(self._slices, start, end)

    def close(self) -> None:
        """Close the shard."""
        self._content.close()

    def _file(self, number: int) -> Slice:
        return self._slices[number]


class StillImage(OpenVideo):
    """An image, open as a video of one frame at 0 seconds. Every method raises VideoError.

    It has no `every`: nobody copies images.
    """

    def __init__(self, path: Place, start: float | None = None, end: float | None = None) -> None:
        if start:
            raise VideoError(f"no frames from {start:g} s: an image has one, at 0 s")
        self._path = path
        self.seconds = np.zeros(1)

    def frames(self, indices: NDArray[np.int64], take: Callable[[Pixels], Pixels]) -> Pixels:
        """Return (len(indices), ...): `take` of the RGB image (H, W, 3), repeated."""
        return np.repeat(take(self._read())[None], len(indices), axis=0)

    def check(self) -> None:
        """Decode the image."""
        self._read()

    def _read(self) -> Pixels:
        file, number = record_of(str(self._path))
        if number is None or not isinstance(self._path, Path):
            return read_image(self._path)
        return read_record(Path(file), number)


def open_video(
    path: Place, start: float | None = None, end: float | None = None
) -> VideoFile | FrameFolder | StillImage:
    """Open a video file, a folder of frames or an image; `start` and `end` are seconds, of a folder numbers.

    Raises VideoError; DataError where a shard, not the video in it, cannot be read.
    """
    if isinstance(path, Path):
        if path.is_dir():
            return FrameFolder(path, start, end)
    elif path.extent.frames:
        return PackedFrames(path, start, end)
    return StillImage(path, start, end) if is_image(str(path)) else VideoFile(path, start, end)


def write_frames(path: Path, frames: Iterable[Pixels], quality: int) -> None:
    """Write RGB frames (H, W, 3) as path/00001.jpg and so on; `quality` is the JPEG library's, 95 its best."""
    path.mkdir(parents=True)
    for number, frame in enumerate(frames, 1):
        Image.fromarray(frame).save(path / f"{number:05d}.jpg", quality=quality)


def frame_names(folder: Path) -> dict[int, str]:
    """Return the file names of the folder's frames by their numbers. Raises VideoError."""
    all_series: dict[tuple[str, str], dict[int, str]] = defaultdict(dict)
    try:
        with os.scandir(folder) as entries:
            for count, entry in enumerate(entries):
                if count > MAX_FRAMES:
                    raise VideoError(f"more than {MAX_FRAMES:,} files")
                match = FRAME.fullmatch(entry.name)
                if match and not entry.name.startswith(".") and entry.is_file(follow_symlinks=False):
                    series = all_series[match["prefix"], match["suffix"]]
                    if series.setdefault(int(match["number"]), entry.name) != entry.name:
                        raise VideoError(f"two files of one number: {entry.name}, {series[int(match['number'])]}")
    except OSError as error:
        raise VideoError(error.strerror or str(error)) from error
    if not all_series:
        raise VideoError("a folder without numbered JPEG files, 00001.jpg say")
    most = max(map(len, all_series.values()))
    largest = sorted((name for name, series in all_series.items() if len(series) == most), key=_preferred)
    if len(largest) > 1 and _preferred(largest[0])[0] == _preferred(largest[1])[0]:
        firsts = sorted(min(all_series[name].values()) for name in largest)
        raise VideoError(f"several series of frames: {', '.join(firsts)}")
    return all_series[largest[0]]


def _preferred(series: tuple[str, str]) -> tuple[int, str]:
    prefix = series[0].lower()
    return (COLOURS.index(prefix) if prefix in COLOURS else len(COLOURS)), series[0]


def is_image(path: str) -> bool:
    """Return True if a row of an index is an image, by its name."""
    return record_of(path)[1] is not None or path.lower().endswith(EXTENSIONS)


def read_image(path: Place) -> Pixels:
    """Read (H, W, 3) of a JPEG file as image networks are trained on it: by libjpeg, not turned.

    A PNG file under such a name is read too, and CMYK becomes RGB: ImageNet has both. Raises VideoError.
    """
    check_regular(path)
    try:
        with path.open("rb") as file, warnings.catch_warnings():  # about odd metadata, which is not read here
            if file.seek(0, os.SEEK_END) > MAX_JPEG:
                raise VideoError(f"an image file of more than {MAX_JPEG >> 20} MiB")
            file.seek(0)
            warnings.simplefilter("ignore")
            with Image.open(cast(IO[bytes], file), formats=("JPEG", "PNG")) as image:
                if image.width * image.height > MAX_IMAGE:
                    raise VideoError(f"an image of {image.width}x{image.height} pixels")
                return np.array(image.convert("RGB"))
    except UnidentifiedImageError as error:
        raise VideoError("not a JPEG file") from error
    except DAMAGE as error:
        raise VideoError(" ".join(str(error).split()) or type(error).__name__) from error


def read_record(file: Path, number: int) -> Pixels:
    """Read (32, 32, 3) of a record of CIFAR-100, counted from 0. Raises VideoError where the file ends before."""
    check_regular(file)
    try:
        with file.open("rb") as opened:
            opened.seek(number * RECORD)
            data = opened.read(RECORD)
    except OSError as error:
        raise VideoError(error.strerror or str(error)) from error
    if len(data) < RECORD:
        raise VideoError(f"no record {number}: the file ends before or in it")
    planes = np.frombuffer(data, dtype=np.uint8)[LABELS:].reshape(3, SIDE, SIDE)
    return np.ascontiguousarray(planes.transpose(1, 2, 0))


def fine_labels(file: Path) -> NDArray[np.uint8]:
    """Read (N,) fine labels, one a record, of a file of CIFAR-100. Raises DataError where it is no such file."""
    size = file.stat().st_size
    if not size or size % RECORD:
        raise DataError(f"{file}: {size:,} bytes are no whole records of {RECORD:,} bytes; get the file anew")
    if size // RECORD > MAX_FRAMES:
        raise DataError(f"{file}: more than {MAX_FRAMES:,} records")
    labels: NDArray[np.uint8] = np.memmap(file, dtype=np.uint8, mode="r").reshape(-1, RECORD)[:, 1].copy()
    return labels
