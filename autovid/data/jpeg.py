"""JPEG files to frames, by the decoder and the converter of videos."""

from pathlib import Path
from typing import Any

from autovid.data.shards import Slice
from autovid.data.video import MAX_PIXELS, MAX_SIDE, Pixels, VideoError, fit, make_scaler, pyav, reading, upright

MAX_JPEG = 1 << 26  # bytes


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
