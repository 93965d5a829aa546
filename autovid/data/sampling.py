"""Which frames make a clip: uniform and dense sampling ("Deep Analysis of CNN-based Spatio-temporal Representations").

Every function returns frame numbers in 0..n-1 for a video of n frames. Where a video is shorter than the clip, its
last frame is repeated.
"""

import numpy as np
from numpy.typing import NDArray

from autovid.clip import Clip


def train_indices(n: int, clip: Clip, rng: np.random.Generator) -> NDArray[np.int64]:
    """(T,) frames of one random clip.

    Dense: a random start, then every `stride`-th frame. Uniform: equal segments, as many as the clip has snippets, and
    one random offset into the segment that all segments share.
    """
    if clip.sampling == "uniform":
        return _uniform(n, clip, rng.random())
    latest = max(0, n - span(clip))
    return _dense(n, clip, int(rng.integers(latest + 1)))


def test_indices(n: int, clip: Clip, clips: int) -> NDArray[np.int64]:
    """(clips, T) frames of `clips` fixed clips of a video.

    Dense: equally spaced starts, from the first frame to the last start that fits; one clip is the first one.
    Uniform: the middle of each segment, shifted by i frames, -clips/2 <= i < clips/2, and never out of the segment.
    """
    if clip.sampling == "uniform":
        return _shifted(n, clip, np.arange(clips) - clips // 2)
    latest = max(0, n - span(clip))
    return np.stack([_dense(n, clip, int(start)) for start in np.linspace(0, latest, clips)])


def span(clip: Clip) -> int:
    """How many frames a dense clip reaches over."""
    return (clip.frames - 1) * clip.stride + 1


def _dense(n: int, clip: Clip, start: int) -> NDArray[np.int64]:
    return np.minimum(start + clip.stride * np.arange(clip.frames), n - 1)


def _uniform(n: int, clip: Clip, offset: float) -> NDArray[np.int64]:
    segments, starts = clip.frames // clip.snippet, max(1, n - clip.snippet + 1)
    return _snippets(np.floor((np.arange(segments) + offset) * starts / segments).astype(np.int64), n, clip)


def _shifted(n: int, clip: Clip, shifts: NDArray[np.int64]) -> NDArray[np.int64]:
    """(len(shifts), T): the middle of every segment and the frames so far beside it, at most to the segment's ends.

    The ends are those of the authors' code. Where a video has fewer frames than segments, theirs draws frames at random
    from a fixed seed; ours keeps one frame a segment.
    """
    segments, starts = clip.frames // clip.snippet, max(1, n - clip.snippet + 1)
    k, twice = np.arange(segments), 2 * segments  # in whole numbers; segment k begins at k * starts / segments
    middles = (2 * k + 1) * starts + twice * shifts[:, None]
    return _snippets(np.clip(middles // twice, k * starts // segments, ((k + 1) * starts - 1) // segments), n, clip)


def _snippets(first: NDArray[np.int64], n: int, clip: Clip) -> NDArray[np.int64]:
    """(..., segments) -> (..., T): the consecutive frames of every segment's snippet."""
    frames: NDArray[np.int64] = np.minimum(first[..., None] + np.arange(clip.snippet), n - 1)
    return frames.reshape(*first.shape[:-1], -1)
