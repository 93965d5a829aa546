"""The seconds of a core for a clip that is read, as a machine's profile has them."""

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from autovid.clip import Clip
from autovid.costs.machine import KEYFRAMES, Decoding


def measure_decoding() -> Decoding | None:
    """Time clips of a made video on one core; None where no H.264 can be written."""
    from autovid.data.encoding import can_write, write_video
    from autovid.data.synthetic import CLASSES, SyntheticRecipe, draw
    from autovid.data.tools.resize import QUALITY

    if not can_write():
        return None
    with tempfile.TemporaryDirectory(prefix="autovid-") as folder:
        frames = draw(CLASSES[0], SyntheticRecipe(frames=120, side=340), np.random.default_rng(0))
        file = Path(folder) / "video.mp4"
        write_video(file, (frame[:256] for frame in frames), quality=QUALITY, gop=KEYFRAMES)
        clips = [Clip(8, 112, 1), Clip(16, 112, 5), Clip(16, 224, 1)]
        plain = [_read_seconds(file, clip, False) for clip in clips]
        augmented = _read_seconds(file, clips[-1], True)
    whole = [Decoding(frame=1, pixel=0, augmented_pixel=0).seconds(clip, False) for clip in clips]
    pixels = [float(clip.frames * clip.crop**2) for clip in clips]
    frame, pixel = np.linalg.lstsq(np.array([whole, pixels]).T, np.array(plain), rcond=None)[0].tolist()
    return Decoding(
        frame=max(0.0, frame), pixel=max(0.0, pixel), augmented_pixel=max(0.0, augmented - plain[-1]) / pixels[-1]
    )


def _read_seconds(file: Path, clip: Clip, augmented: bool) -> float:
    """Return the processor's seconds for a training clip, the median of some."""
    from autovid.data import ClipLoader, Video

    loader = ClipLoader(
        [Video(file.name, 0)], file.parent, clip, batch=1, train=True, auto_augment=augmented,
        jitter=(max(clip.crop, 128), max(clip.crop, 160)),
    )  # fmt: skip
    each = []
    start = time.process_time()
    for _ in loader.batches(0, 12):
        each.append(time.process_time() - start)
        start = time.process_time()
    return statistics.median(each[2:])
