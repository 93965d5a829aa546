"""Videos made on the spot: the frames of a counting video say which they are, so a test can tell what it got."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

BITS = 6


def counting_frames(n: int, height: int = 48, width: int = 64) -> Iterable[NDArray[np.uint8]]:
    """n <= 64 frames; dark and light bars from left to right are the bits of the frame's number, under some noise."""
    rng = np.random.default_rng(0)
    for i in range(n):
        bars = np.array([195 * (i >> bit & 1) for bit in range(BITS)], dtype=np.uint8)
        row = bars[np.arange(width) * BITS // width]
        yield row[:, None] + rng.integers(60, size=(height, width, 3), dtype=np.uint8)


def counts(frames: NDArray[np.uint8]) -> list[int]:
    """Which frames of a counting video these are: (n, H, W, 3) -> n numbers."""
    rows = frames.mean(axis=(1, 3))
    middles = ((np.arange(BITS) + 0.5) * rows.shape[1] / BITS).astype(int)
    return [sum(1 << bit for bit in range(BITS) if row[middles[bit]] > 128) for row in rows]


def write(
    path: Path,
    frames: Iterable[NDArray[np.uint8]],
    codec: str = "libx264",
    container: str | None = None,
    pixels: str = "yuv420p",
    gop: int = 12,
    pts: Iterable[int] | None = None,
    **options: str,
) -> Path:
    """Writes a video with PyAV; `pts` in hundredths of a second where it is given, else 25 frames a second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format=container) as out:
        stamps = None if pts is None else iter(pts)
        stream: Any = None
        for frame in frames:
            if stream is None:
                stream = out.add_stream(codec, rate=25 if stamps is None else 100, options=options)
                stream.height, stream.width = frame.shape[:2]
                stream.pix_fmt = pixels
                stream.codec_context.gop_size = gop
                stream.codec_context.thread_count = 1
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            if stamps is not None:
                picture.pts = next(stamps)
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    return path
