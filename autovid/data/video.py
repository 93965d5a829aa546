"""Video files to frames, and frames to video files: the only file of the project that imports PyAV.

A data set may hold files that nobody has looked at, so a file is opened as one regular local file of a few container
formats, with bounds on what it may ask for. Whatever is wrong with it becomes one VideoError.
"""

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg"
MAX_SIDE = 8192
MAX_PIXELS = 8192 * 4320
MAX_FRAMES = 1_000_000

av.logging.set_level(None)  # FFmpeg's own complaints would tear the progress display; ours say which file


class VideoError(Exception):
    """A video that cannot be read: empty, broken, hostile or not a video. The text is the reason, without the path."""


class VideoFile:
    """An open video, or its part from `start` to `end` seconds. Frames are numbered in the order of presentation.

    Frames are found by the time stamps of a pass over the packets, which needs no decoding and trusts no header: so a
    missing frame count, a variable frame rate and a start that is not zero need no special care.

    Raises VideoError from every method.
    """

    def __init__(self, path: Path, start: float | None = None, end: float | None = None) -> None:
        _check_regular(path)
        self._container = _open(path)
        try:
            self._stream = _video_stream(self._container)
            self._pts = self._scan(start, end)
        except BaseException as error:
            self._container.close()
            raise _video_error(error) from error

    def __enter__(self) -> "VideoFile":
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self._container.close()

    def __len__(self) -> int:
        return len(self._pts)

    def _scan(self, start: float | None, end: float | None) -> NDArray[np.int64]:
        """The time stamps of all frames between start and end, in order of presentation."""
        pts = []
        for packet in self._container.demux(self._stream):
            if packet.size and packet.pts is not None and not packet.is_discard and not packet.is_corrupt:
                pts.append(packet.pts)
            if len(pts) > MAX_FRAMES:
                raise VideoError(f"more than {MAX_FRAMES:,} frames")
        found = np.unique(np.array(pts, dtype=np.int64))
        if not len(found):
            raise VideoError("no frames")
        seconds = (found - found[0]) * float(self._stream.time_base or 1)
        keep = (seconds >= (start or 0.0)) & (seconds < (np.inf if end is None else end))
        if not keep.any():
            raise VideoError(f"no frames between {start} and {end} s (the video has {seconds[-1]:.2f} s)")
        return found[keep]

    def frames(self, indices: NDArray[np.int64], short_side: int) -> NDArray[np.uint8]:
        """The frames with these numbers (any order, repeats allowed), RGB (n, H, W, 3), min(H, W) = `short_side`."""
        unique, inverse = np.unique(indices, return_inverse=True)
        try:
            images = list(self._decode(self._pts[unique], short_side))
        except Exception as error:
            raise _video_error(error) from error
        return np.stack(images)[inverse]

    def _decode(self, wanted: NDArray[np.int64], short_side: int) -> Iterator[NDArray[np.uint8]]:
        self._container.seek(int(wanted[0]), stream=self._stream, backward=True)
        todo = iter(wanted.tolist())
        target, scaler = next(todo), Scaler(short_side)
        needed = set(wanted.tolist())
        context = self._stream.codec_context
        for packet in self._container.demux(self._stream):
            # Frames that no other frame refers to need not be decoded where nobody wants them.
            context.skip_frame = "DEFAULT" if packet.pts is None or packet.pts in needed else "NONREF"
            for frame in packet.decode():
                while target is not None and frame.pts is not None and frame.pts >= target:
                    yield scaler(frame)
                    target = next(todo, None)
                if target is None:
                    return
        raise VideoError("the frames end early")


class Scaler:
    """Decoded frames to upright RGB arrays with a given short side."""

    def __init__(self, short_side: int) -> None:
        self.short_side = short_side
        self.reformatter = VideoReformatter()

    def __call__(self, frame: av.VideoFrame) -> NDArray[np.uint8]:
        if frame.is_corrupt:
            raise VideoError("a damaged frame")
        scale = self.short_side / min(frame.width, frame.height)
        width, height = (max(self.short_side, round(side * scale)) for side in (frame.width, frame.height))
        if max(width, height) > MAX_SIDE:
            raise VideoError(f"frames of {frame.width}x{frame.height} pixels")
        image = self.reformatter.reformat(frame, width, height, "rgb24", interpolation=Interpolation.BILINEAR)
        turns = round(frame.rotation / 90) % 4
        array: NDArray[np.uint8] = np.rot90(image.to_ndarray(), turns)
        return array


def write_video(
    path: Path, frames: Iterable[NDArray[np.uint8]], rate: int = 25, quality: int = 23, gop: int = 12
) -> None:
    """Writes RGB frames (H, W, 3) as an H.264 file; H and W even. Needs a PyAV with libx264 (its wheels have it)."""
    with av.open(str(path), "w", format="mp4") as container:
        stream: Any = None
        for frame in frames:
            if stream is None:
                stream = container.add_stream("libx264", rate=rate)
                stream.height, stream.width = frame.shape[:2]
                stream.pix_fmt = "yuv420p"
                stream.codec_context.gop_size = gop
                stream.codec_context.thread_count = 1
                stream.options = {"crf": str(quality), "preset": "veryfast"}
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


def can_write() -> bool:
    """Whether this PyAV can write H.264."""
    return "libx264" in av.codecs_available


def _check_regular(path: Path) -> None:
    try:
        info = os.stat(path)
    except OSError as error:
        raise VideoError(error.strerror or "cannot be opened") from error
    if not stat.S_ISREG(info.st_mode):  # a pipe would block for ever
        raise VideoError("not a regular file")
    if info.st_size == 0:
        raise VideoError("empty file")


def _open(path: Path) -> Any:
    # Without these lists a text file called .mp4 may be a playlist that opens other files or addresses.
    options = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
    try:
        return av.open(f"file:{path}", options=options, metadata_errors="replace")
    except (OSError, ValueError) as error:
        raise _video_error(error) from error


def _video_stream(container: Any) -> Any:
    if not container.streams.video:
        raise VideoError("no video stream")
    stream = container.streams.best("video")
    context = stream.codec_context
    if not 0 < max(context.width, context.height) <= MAX_SIDE:
        raise VideoError(f"frames of {context.width}x{context.height} pixels")
    context.thread_count = 1
    context.options = {"max_pixels": str(MAX_PIXELS)}
    return stream


def _video_error(error: BaseException) -> BaseException:
    if isinstance(error, (VideoError, MemoryError)) or not isinstance(error, Exception):
        return error
    return VideoError(" ".join(str(getattr(error, "strerror", None) or error or type(error).__name__).split()))
