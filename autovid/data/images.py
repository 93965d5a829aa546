"""Images as videos of one frame: a JPEG file, or a record of CIFAR-100's binary files, which a row calls `FILE#RECORD`.

A record of CIFAR-100 is a byte of the coarse label, one of the fine label, and 3,072 of a 32 x 32 image, its red plane
first, then green and blue, each row by row (Krizhevsky, "Learning multiple layers of features from tiny images", 2009).
"""

import warnings
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from autovid.data.file_lookup import record_of
from autovid.data.video import MAX_FRAMES, MAX_JPEG, Pixels, VideoError, check_regular
from autovid.errors import DataError

EXTENSIONS = (".jpg", ".jpeg")
MAX_IMAGE = 1 << 26  # pixels: 200 MB of RGB
SIDE = 32  # of CIFAR's images
LABELS = 2  # bytes before the image: the coarse label and the fine one
RECORD = LABELS + 3 * SIDE * SIDE  # bytes

# What PIL raises about a file that is damaged or made to do harm.
DAMAGE = (Image.DecompressionBombError, OSError, SyntaxError, ValueError, LookupError, TypeError, MemoryError)


class StillImage:
    """An image, open as a video of one frame at 0 seconds. Every method raises VideoError.

    The same interface as VideoFile, but for `every`: nobody copies images.
    """

    seconds: NDArray[np.float64]

    @property
    def marks(self) -> NDArray[np.float64]:
        """(1,): what `start` and `end` are compared with."""
        return self.seconds

    def __init__(self, path: Path, start: float | None = None, end: float | None = None) -> None:
        if start:
            raise VideoError(f"no frames from {start:g} s: an image has one, at 0 s")
        self._path = path
        self.seconds = np.zeros(1)

    def __enter__(self) -> "StillImage":
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        pass

    def __len__(self) -> int:
        return 1

    def frames(self, indices: NDArray[np.int64], take: Callable[[Pixels], Pixels]) -> Pixels:
        """(len(indices), ...): what `take` makes of the RGB image (H, W, 3), as often as it is wanted."""
        return np.repeat(take(self._read())[None], len(indices), axis=0)

    def check(self) -> None:
        """Decodes it."""
        self._read()

    def _read(self) -> Pixels:
        file, number = record_of(str(self._path))
        return read_image(self._path) if number is None else read_record(Path(file), number)


def is_image(path: str) -> bool:
    """Whether a row of an index is an image, by its name."""
    return record_of(path)[1] is not None or path.lower().endswith(EXTENSIONS)


def read_image(path: Path) -> Pixels:
    """(H, W, 3) of a JPEG file as image networks are trained on it: by libjpeg, not turned.

    A PNG file under such a name is read too, and CMYK becomes RGB: ImageNet has both. Raises VideoError.
    """
    check_regular(path)
    try:
        if path.stat().st_size > MAX_JPEG:
            raise VideoError(f"an image file of more than {MAX_JPEG >> 20} MiB")
        with warnings.catch_warnings():  # about odd metadata, which is not read here
            warnings.simplefilter("ignore")
            with Image.open(path, formats=("JPEG", "PNG")) as image:
                if image.width * image.height > MAX_IMAGE:
                    raise VideoError(f"an image of {image.width}x{image.height} pixels")
                return np.array(image.convert("RGB"))
    except UnidentifiedImageError as error:
        raise VideoError("not a JPEG file") from error
    except DAMAGE as error:
        raise VideoError(" ".join(str(error).split()) or type(error).__name__) from error


def read_record(file: Path, number: int) -> Pixels:
    """(32, 32, 3) of a record of CIFAR-100, counted from 0. Raises VideoError where the file does not have it whole."""
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
    """(N,): the fine label of each record of a file of CIFAR-100. Raises DataError where it is no such file."""
    size = file.stat().st_size
    if not size or size % RECORD:
        raise DataError(f"{file}: {size:,} bytes are no whole records of {RECORD:,} bytes; get the file anew")
    if size // RECORD > MAX_FRAMES:
        raise DataError(f"{file}: more than {MAX_FRAMES:,} records")
    labels: NDArray[np.uint8] = np.memmap(file, dtype=np.uint8, mode="r").reshape(-1, RECORD)[:, 1].copy()
    return labels
