"""Frames to video files."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autovid.data.video import Pixels, pyav

CLOCK = 90_000  # time stamps a second in the videos that we write from others


def write_video(
    path: Path, frames: Iterable[Pixels], *, quality: int, gop: int, seconds: NDArray[np.float64] | None = None
) -> None:
    """Write RGB frames (H, W, 3), H and W even, as H.264 in MP4, a key frame at least every `gop`.

    `quality` is x264's constant rate factor: 18 looks like the original, 51 is the worst. `seconds`: when each frame is
    shown, rising; by default 25 a second.
    """
    with pyav().open(str(path), "w", format="mp4") as container:
        stream: Any = None
        stamp = -1
        for number, frame in enumerate(frames):
            if stream is None:
                length = 0.0 if seconds is None else float(seconds[-1] - seconds[0])
                mean = 25.0 if seconds is None or length <= 0 else (len(seconds) - 1) / length
                rate = Fraction(min(max(mean, 1.0), 1000.0)).limit_denominator(1001)
                # On AVX-512, x264's macroblock tree gives other bytes at times; with many key frames it gains nothing.
                options = {"crf": str(quality), "preset": "veryfast", "mbtree": "0"}
                stream = container.add_stream("libx264", rate=rate, options=options)
                stream.height, stream.width = frame.shape[:2]
                stream.pix_fmt = "yuv420p"
                stream.codec_context.gop_size = gop
                stream.codec_context.thread_count = 1
                if seconds is not None:
                    stream.codec_context.time_base = Fraction(1, CLOCK)
            picture = pyav().VideoFrame.from_ndarray(frame, format="rgb24")
            if seconds is not None:
                stamp = max(stamp + 1, round(seconds[number] * CLOCK))
                picture.pts, picture.time_base = stamp, Fraction(1, CLOCK)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


def can_write() -> bool:
    """Return True if this PyAV can write H.264. Its wheels can; one built against a system's FFmpeg may not."""
    return "libx264" in pyav().codecs_available
