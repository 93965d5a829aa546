"""What a classifier says of a video: the likeliest classes, of the whole or window by window."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import torch

from autovid.data.clips import read_windows
from autovid.data.loader import normalised
from autovid.errors import DivergedError
from autovid.export.runtime import Classifier

TOP = 5
DECIMALS = 6  # of seconds
PIXELS_AT_ONCE = 2**23  # of clips: bounds the memory


class Guess(msgspec.Struct, frozen=True):
    """A class and its probability; `index` is its logit's number."""

    label: str
    index: int
    probability: float


class Prediction(msgspec.Struct, frozen=True):
    """The five likeliest classes from `start` to `end` (seconds), over as many `clips`, whose softmax is averaged."""

    video: str
    start: float
    end: float
    clips: int
    top: tuple[Guess, ...]


def predict(model: Classifier, video: Path, window: float | None = None) -> Iterator[Prediction]:
    """A prediction for each window of so many seconds, or one for the whole video.

    Raises DataError when it comes to what cannot be read, ConfigError for windows shorter than a frame, DivergedError
    for logits that are not finite.
    """
    clip, names = model.interface.clip, model.interface
    batch = max(1, PIXELS_AT_ONCE // (clip.frames * clip.crop**2))
    for start, end, pixels in read_windows(video, clip, window):
        parts = [model.logits(normalised(part, clip)) for part in np.split(pixels, range(batch, len(pixels), batch))]
        probabilities = torch.softmax(torch.cat(parts), 1).mean(0)
        if not probabilities.isfinite().all():
            raise DivergedError(f"{names.name} gives nan or inf for {video}; train it again")
        values, numbers = probabilities.topk(min(TOP, names.outputs))
        top = tuple(Guess(names.class_name(i), i, p) for i, p in zip(numbers.tolist(), values.tolist()))
        yield Prediction(str(video), round(start, DECIMALS), round(end, DECIMALS), len(pixels), top)
