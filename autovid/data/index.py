"""Data sets as indexes: which videos, with which labels, in which split. Nothing here touches a file."""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from autovid.errors import DataError


class Video(msgspec.Struct, frozen=True):
    """A video, or its part from `start` to `end` seconds; `path` is relative to the set's root, `label` a class."""

    path: str
    label: int
    start: float | None = None
    end: float | None = None


class VideoSet(msgspec.Struct, frozen=True):
    """A data set: labels index `classes`, paths are relative to `root`.

    `flip`: whether a mirrored video keeps its class; it does not where left and right are classes.
    """

    name: str
    root: Path
    classes: tuple[str, ...]
    train: tuple[Video, ...]
    val: tuple[Video, ...]
    flip: bool = True

    @property
    def fingerprint(self) -> str:
        """sha256 of the index (classes, paths, labels, splits; not the videos' bytes): the same data, or other data."""
        index = msgspec.to_builtins((self.classes, self.train, self.val, self.flip))
        return hashlib.sha256(json.dumps(index).encode()).hexdigest()


def halves(videos: Sequence[Video], seed: int) -> tuple[tuple[Video, ...], tuple[Video, ...]]:
    """Two disjoint halves with the classes in equal parts: one for the weights to learn on, one for the prior."""
    return _divide(videos, 0.5, seed, keep=0)


def check_halves(videos: VideoSet) -> None:
    """Raises DataError where a class has one training video, which cannot be in both halves."""
    counts = Counter(video.label for video in videos.train)
    alone = [videos.classes[label] for label in sorted(counts) if counts[label] == 1]
    if alone:
        names = ", ".join(alone[:3]) + (", ..." if len(alone) > 3 else "")
        raise DataError(
            f"{videos.name}: a search needs two training videos of each class, one for each half; "
            f"{len(alone)} {'class has' if len(alone) == 1 else 'classes have'} one: {names}"
        )


def hold_out(videos: Sequence[Video], share: float, seed: int) -> tuple[tuple[Video, ...], tuple[Video, ...]]:
    """(train, val): a random `share` of every class becomes val, but every class keeps a video to learn from."""
    return _divide(videos, share, seed, keep=1)


def _divide(videos: Sequence[Video], share: float, seed: int, keep: int) -> tuple[tuple[Video, ...], tuple[Video, ...]]:
    members: dict[int, list[int]] = defaultdict(list)
    for i, video in enumerate(videos):
        members[video.label].append(i)
    rng = np.random.default_rng((*b"split", 256, seed))
    taken: set[int] = set()
    seen = 0
    for label in sorted(members):
        own = rng.permutation(members[label]).tolist()
        seen += len(own)
        # Rounding what all classes so far should have given, not each class, makes the total right.
        taken.update(own[: max(0, min(len(own) - keep, int(seen * share + 0.5) - len(taken)))])
    rest = tuple(video for i, video in enumerate(videos) if i not in taken)
    return rest, tuple(videos[i] for i in sorted(taken))
