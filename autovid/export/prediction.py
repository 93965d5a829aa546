"""Predictions of a classifier for a video: probabilities of its windows, and the likeliest classes."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from autovid.data.clips import Window, read_windows
from autovid.data.loader import normalised
from autovid.errors import DivergedError
from autovid.export.classifier import VideoClassifier

TOP = 5  # classes of a prediction
DECIMALS = 6  # of seconds
PIXELS_AT_ONCE = 2**23  # of clips: bounds the memory


class ScoredWindow(NamedTuple):
    """The probabilities (classes,) from `start` to `end` (seconds), the mean over as many `clips`.

    They are a softmax, or sigmoids where a video may have several classes.
    """

    start: float
    end: float
    clips: int
    probabilities: NDArray[np.float32]


class Guess(msgspec.Struct, frozen=True):
    """A class and its probability; `index` is its logit's number."""

    label: str
    index: int
    probability: float


class Prediction(msgspec.Struct, frozen=True):
    """The five likeliest classes from `start` to `end` (seconds), over as many `clips`."""

    video: str
    start: float
    end: float
    clips: int
    top: tuple[Guess, ...]


def predict(
    classifier: VideoClassifier,
    video: Path,
    window: float | None = None,
    damaged: Callable[[float], None] | None = None,
) -> Iterator[Prediction]:
    """Predict each window of so many seconds, or the whole video.

    `damaged` is told the start of each window that cannot be decoded and is left out. Raises DataError at frames that
    cannot be read (without `damaged` in one window), ConfigError for windows shorter than a frame, DivergedError for
    logits that are not finite.
    """
    windows = read_windows(video, classifier.interface.clip, window, damaged=damaged)
    for scored in score(classifier, windows, str(video)):
        yield likeliest(classifier, scored, str(video))


def score(classifier: VideoClassifier, windows: Iterable[Window], video: str) -> Iterator[ScoredWindow]:
    """Yield the probabilities of each window of `video`. Raises DivergedError for logits that are not finite."""
    clip = classifier.interface.clip
    multi_label, batch = classifier.interface.multi_label, max(1, PIXELS_AT_ONCE // (clip.frames * clip.crop**2))
    for start, end, pixels in windows:
        parts = [
            classifier.logits(normalised(part, clip)) for part in np.split(pixels, range(batch, len(pixels), batch))
        ]
        logits = torch.cat(parts)
        probabilities = (torch.sigmoid(logits) if multi_label else torch.softmax(logits, 1)).mean(0)
        if not probabilities.isfinite().all():
            raise DivergedError(f"{classifier.interface.name} gives nan or inf for {video}; train it again")
        yield ScoredWindow(start, end, len(pixels), probabilities.numpy())


def likeliest(classifier: VideoClassifier, scored: ScoredWindow, video: str) -> Prediction:
    """Return the five likeliest classes of a window."""
    interface = classifier.interface
    values, numbers = torch.from_numpy(scored.probabilities).topk(min(TOP, interface.outputs))
    top = tuple(Guess(interface.class_name(i), i, p) for i, p in zip(numbers.tolist(), values.tolist()))
    return Prediction(video, round(scored.start, DECIMALS), round(scored.end, DECIMALS), scored.clips, top)
