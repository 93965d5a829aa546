"""Video files to frames: the only file of the project that imports PyAV.

A data set may hold files that nobody has looked at. So a file is opened only where it is a regular local file, or some
bytes of a shard, of one of a few container formats, with bounds on what it may ask for, and whatever is wrong with it
becomes a VideoError.

PyAV is loaded when the first video is opened: a search or a training on other data needs none.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from autovid.data.shards import Place

if TYPE_CHECKING:
    import av
    from av.video.reformatter import VideoReformatter

FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg"
MAX_SIDE = 8192
MAX_PIXELS = 8192 * 4320
MAX_FRAMES = 1_000_000
NEAR = 8  # up to so many frames ahead of the next key frame, decoding on is cheaper than a seek

Pixels: TypeAlias = NDArray[np.uint8]
Opened = TypeVar("Opened", bound="OpenVideo")


class VideoError(Exception):
    """A video that cannot be read: empty, broken, hostile or no video at all. The text is the reason, without path."""


class MissingFrames(VideoError):
    """Some frames of a video that cannot be decoded, by their numbers."""

    def __init__(self, missing: NDArray[np.int64], of: int) -> None:
        super().__init__(f"{len(missing)} of {of} frames cannot be decoded")
        self.missing = missing


class ClipBuffer:
    """Frames put where they belong as they come.

    Collecting them first would touch twice the fresh memory, which costs as much as decoding JPEG does.
    """

    pixels: Pixels

    def __init__(self, count: int) -> None:
        self._count = count
        self._shape: tuple[int, ...] | None = None

    def put(self, places: NDArray[Any], image: Pixels) -> None:
        """Put one frame at these places. Raises VideoError where it is of another size than the ones before."""
        if self._shape is None:
            self._shape = image.shape
            self.pixels = np.empty((self._count, *image.shape), dtype=np.uint8)
        if image.shape != self._shape:
            raise VideoError("frames of different sizes")
        self.pixels[places] = image


class OpenVideo:
    """A video, open as a context: `len()` frames, each shown `seconds` (len,) after the start of the whole video."""

    seconds: NDArray[np.float64]

    @property
    def marks(self) -> NDArray[Any]:
        """(len,): the values that `start` and `end` are compared with."""
        return self.seconds

    def __enter__(self: Opened) -> Opened:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self.seconds)

    def frames(self, indices: NDArray[np.int64], take: Callable[[Pixels], Pixels]) -> Pixels:
        """Return (len(indices), ...): `take` of the RGB frames with these numbers. Raises VideoError.

        `take` is given frames (..., H, W, 3), one or several at a time, and treats each by itself.
        """
        raise NotImplementedError

    def each(self, indices: NDArray[np.int64], take: Callable[[Pixels], Pixels]) -> Iterator[tuple[int, Pixels]]:
        """Yield number and `take` of each of these frames, once and in order; of a video file those that decode.

        All of them in one pass: a long video is not begun again for every part of it. Raises VideoError.
        """
        for number in np.unique(indices).tolist():
            yield number, self.frames(np.array([number]), take)[0]

    def close(self) -> None:
        """Let go of the file."""


class VideoFile(OpenVideo):
    """An open video, or its part from `start` to `end` seconds: `len()` frames in the order of presentation.

    Frames are found by the time stamps of a pass over the packets, which decodes nothing and trusts no header: a
    missing frame count, a variable frame rate or a start other than zero need no special care. AVI has no time stamps
    worth the name; there, frames are counted from the first one, which is slower. Every method raises VideoError.
    """

    def __init__(self, path: Place, start: float | None = None, end: float | None = None) -> None:
        check_regular(path)
        self._path = path
        self._container, self._stream = _open(path)
        self._counted = self._container.format.name == "avi"
        try:
            self._names = self._scan(start or 0.0, np.inf if end is None else end)
        except BaseException:
            self._container.close()
            raise

    def close(self) -> None:
        """Close the container."""
        self._container.close()

    def frames(self, indices: NDArray[np.int64], take: Callable[[Pixels], Pixels]) -> Pixels:
        """Return (len(indices), ...): `take` of each of the upright RGB frames (H, W, 3) with these numbers.

        Only these are decoded: from the key frame before it, without the frames that no other refers to.
        """
        names, scaler, clip = self._names[indices], make_scaler(), ClipBuffer(len(indices))
        missing = dict.fromkeys(np.unique(names).tolist())
        # A second try finds what a seek missed: frames shown before the key frame that they were stored after.
        for decode in (self._from_key_frames, self._from_start):
            for name, frame in decode(list(missing)):
                if name in missing and not frame.is_corrupt:
                    clip.put(names == name, take(upright(frame, scaler)))
                    del missing[name]
        if missing:
            raise MissingFrames(np.unique(indices[np.isin(names, list(missing))]), len(np.unique(names)))
        return clip.pixels

    def each(self, indices: NDArray[np.int64], take: Callable[[Pixels], Pixels]) -> Iterator[tuple[int, Pixels]]:
        """Yield number and `take` of those of these frames that decode, once, in order; `frames` may go on between."""
        other, scaler = copy(self), make_scaler()
        other._container, other._stream = _open(self._path)
        numbers = np.unique(indices)
        number_of = dict(zip(self._names[numbers].tolist(), numbers.tolist()))
        try:
            for name, frame in (other._from_start if self._counted else other._from_key_frames)(list(number_of)):
                number = number_of.pop(name, None)
                if number is not None and not frame.is_corrupt:
                    yield number, take(upright(frame, scaler))
        finally:
            other.close()

    def all_frames(self, short_side: int) -> Iterator[Pixels]:
        """Yield all frames in order, upright RGB (H, W, 3), made small by `fit`. Raises VideoError."""
        scaler = make_scaler()
        for frame in self._whole():
            yield upright(frame, scaler, fit(frame.height, frame.width, short_side))

    def check(self) -> None:
        """Decode every frame. Raises VideoError where one is of another size, or several are missing or damaged.

        A single one costs no clip: its neighbour stands in (`autovid.data.clips`).
        """
        for _ in self._whole(spare=1):
            pass

    def _whole(self, spare: int = 0) -> Iterator[av.VideoFrame]:
        names, sizes = self._names.tolist(), set()
        lost = set(names)
        for name, frame in self._from_start(names):
            lost.discard(name)
            sizes.add((frame.width, frame.height))
            spare -= frame.is_corrupt
            if spare < 0 or len(sizes) > 1:
                at = self.seconds[np.searchsorted(self._names, name)]
                raise VideoError(
                    f"{'a damaged frame' if frame.is_corrupt else 'frames of different sizes'} at {at:.2f} s"
                )
            yield frame
        if len(lost) > spare:
            at = self.seconds[np.searchsorted(self._names, min(lost))]
            raise VideoError(f"{len(lost)} of {len(names)} frames cannot be decoded, the first at {at:.2f} s")

    def _scan(self, start: float, end: float) -> NDArray[np.int64]:
        """Return the names of the frames from start to end: time stamps, or where there are none, counts from 0."""
        unit, origin = float(self._stream.time_base or 0), self._stream.start_time or 0
        first, last = origin + start / (unit or 1), origin + end / (unit or 1)
        if start and not self._counted:
            self._seek(int(first))
        stamps = self._stamps(last)
        keys = [stamp for stamp, key in stamps if key and stamp is not None]
        if start and not self._counted and not any(stamp <= first for stamp in keys):
            self._reopen()  # the seek has gone too far
            stamps = self._stamps(last)
        if any(stamp is None for stamp, _ in stamps) and not self._counted:
            self._counted = True
            self._reopen()
            stamps = self._stamps(np.inf)
        if self._counted:
            names, seconds = np.arange(len(stamps)), np.arange(len(stamps)) / float(self._stream.average_rate or 25)
        else:
            self._keys = np.unique(np.array([stamp for stamp, is_key in stamps if is_key], dtype=np.int64))
            names = np.unique(np.array([stamp for stamp, _ in stamps], dtype=np.int64))
            names = names[names >= self._keys[0]] if len(self._keys) else names  # earlier ones cannot be decoded
            seconds = (names - origin) * unit
        inside = (seconds >= start) & (seconds < end)
        kept: NDArray[np.int64] = names[inside]
        self.seconds = seconds[inside]
        if not len(kept):
            until = " s on" if end == np.inf else f" to {end:g} s"
            part = "" if (start, end) == (0, np.inf) else f" from {start:g}{until}"
            before = len(seconds) and seconds.max() < start  # then all to the end have been seen
            raise VideoError(f"no frames{part}" + (f"; the last is at {seconds.max():.2f} s" if before else ""))
        return kept

    def _stamps(self, last: float) -> list[tuple[int | None, bool]]:
        """Return (time stamp, is a key frame) of each packet from here to `last`, in the stored order."""
        stamps: list[tuple[int | None, bool]] = []
        for packet in self._packets():
            if not packet.is_discard:
                stamps.append((packet.pts, packet.is_keyframe))
            if len(stamps) > MAX_FRAMES:
                raise VideoError(f"more than {MAX_FRAMES:,} frames")
            if not self._counted and packet.dts is not None and packet.dts >= last:
                break  # nothing that follows is shown before this
        return stamps

    def _from_key_frames(self, names: list[int]) -> Iterator[tuple[int, av.VideoFrame]]:
        """Yield these frames, seeking to the key frame before each group of them."""
        for key, run in self._runs(names):
            self._seek(key)
            stamps = set(run)
            for frame in self._decode(stamps, skip=True):
                if frame.pts in stamps:
                    yield frame.pts, frame

    def _runs(self, names: list[int]) -> Iterator[tuple[int, list[int]]]:
        """Yield these frames in groups worth a seek each, with the key frame to seek to."""
        if self._counted or not len(self._keys):
            return
        keys = self._keys[np.searchsorted(self._keys, names, "right") - 1]
        gaps = np.searchsorted(self._names, keys[1:]) - np.searchsorted(self._names, names[:-1])
        cuts = (np.flatnonzero(gaps > NEAR) + 1).tolist()
        for first, last in zip([0, *cuts], [*cuts, len(names)]):
            if first < last:
                yield int(keys[first]), names[first:last]

    def _from_start(self, names: list[int]) -> Iterator[tuple[int, av.VideoFrame]]:
        """Yield these frames, decoding everything up to the last of them."""
        if not names:
            return
        self._reopen()
        requested = set(names)
        for count, frame in enumerate(self._decode(set() if self._counted else requested, skip=False)):
            name = count if self._counted else frame.pts
            if name in requested:
                yield name, frame
            if name == names[-1]:
                return

    def _decode(self, stamps: set[int], skip: bool) -> Iterator[av.VideoFrame]:
        """Yield frames from here on, until the packets with these stamps are through (an empty set: until the end)."""
        context, ahead = self._stream.codec_context, set(stamps)
        for packet in self._packets():
            context.skip_frame = "NONREF" if skip and packet.pts not in stamps else "DEFAULT"
            yield from decoded(packet)
            ahead.discard(packet.pts)
            if stamps and not ahead:
                break
        yield from decoded(context, None)  # what the decoder holds back

    def _packets(self) -> Iterator[Any]:
        with reading():
            for packet in self._container.demux(self._stream):
                if packet.size and not packet.is_corrupt:
                    yield packet

    def _seek(self, stamp: int) -> None:
        try:
            self._container.seek(stamp, stream=self._stream)
        except (pyav().error.FFmpegError, OverflowError):
            self._reopen()

    def _reopen(self) -> None:
        self._container.close()
        self._container, self._stream = _open(self._path)


def fit(height: int, width: int, short_side: int) -> tuple[int, int]:
    """Return (height, width) of a small copy: in proportion, the short side at most `short_side`, both sides even."""
    scale = min(1.0, short_side / min(height, width))
    return max(2, 2 * round(height * scale / 2)), max(2, 2 * round(width * scale / 2))


@cache
def pyav() -> Any:
    """Return PyAV."""
    import av
    import av.video.reformatter

    av.logging.set_level(None)  # FFmpeg's own complaints would tear the progress display, and do not name the file
    return av


def make_scaler() -> VideoReformatter:
    scaler: VideoReformatter = pyav().video.reformatter.VideoReformatter()
    return scaler


@contextmanager
def reading(hint: str = "") -> Iterator[None]:
    """Turn whatever the system or PyAV raises about a file into VideoError."""
    try:
        yield
    except (pyav().error.FFmpegError, OSError, ValueError, OverflowError, MemoryError) as error:
        text = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise VideoError(hint + " ".join(str(text).split())) from error


def check_regular(path: Place) -> None:
    """Raise VideoError for what is not a file with something in it. What is in a shard is one."""
    if not isinstance(path, Path):
        return
    with reading():
        info = os.stat(path)
        if not stat.S_ISREG(info.st_mode):
            raise VideoError("not a regular file")  # opening a pipe would wait for ever
        path.open("rb").close()
    if not info.st_size:
        raise VideoError("empty file")


def any_metadata() -> dict[str, str]:
    """Up to PyAV 18, metadata that is not UTF-8 is refused unless told otherwise; 19 takes any, and is not told."""
    return {"metadata_errors": "replace"} if int(pyav().__version__.partition(".")[0]) < 19 else {}


def _open(path: Place) -> tuple[Any, Any]:
    """Open the container and its best video stream. The bytes of a shard are closed with the last use of them."""
    # Without these lists a text file called .mp4 may be a playlist that opens other files or addresses.
    options = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
    content = f"file:{path}" if isinstance(path, Path) else path.open()
    with reading("not an mp4, mkv, webm, avi, ts or mpeg file that can be read: "):
        container: Any = pyav().open(content, options=options, **any_metadata())
    return container, video_stream(container)


def video_stream(container: Any) -> Any:
    """Return the best video stream, ready to decode. Closes the container and raises VideoError where none can be."""
    stream = container.streams.best("video")
    context = stream and stream.codec_context
    if context is None:
        container.close()
        raise VideoError("no video stream" if stream is None else "a codec that is not known")
    if not 0 < max(context.width, context.height) <= MAX_SIDE:
        container.close()
        raise VideoError(f"frames of {context.width}x{context.height} pixels")
    context.thread_count = 1
    context.options = {"max_pixels": str(MAX_PIXELS)}
    return stream


def decoded(source: Any, *packet: None) -> list[av.VideoFrame]:
    """Decode the frames of a packet; none where it is damaged, which shows in the frames that are then missing."""
    try:
        frames: list[av.VideoFrame] = source.decode(*packet)
    except (pyav().error.FFmpegError, ValueError):  # the latter where the decoder did not open before
        return []
    return frames


def upright(frame: av.VideoFrame, scaler: VideoReformatter, size: tuple[int, int] | None = None) -> Pixels:
    """Convert to RGB, of another size (height, width, as stored) where one is given, then turn as the file says."""
    if frame.is_corrupt or max(frame.width, frame.height) > MAX_SIDE:
        raise VideoError("a damaged frame")
    with reading():
        height, width = size or (None, None)
        # More threads cost more than they give.
        bicubic = pyav().video.reformatter.Interpolation.BICUBIC if size else None
        image = scaler.reformat(frame, width, height, "rgb24", interpolation=bicubic, threads=1).to_ndarray()
    turned: Pixels = np.rot90(image, round(frame.rotation / 90) % 4)
    return turned
