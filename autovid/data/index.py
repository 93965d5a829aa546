"""Data sets as indexes: which videos, with which labels, in which split. Nothing here opens a video."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
import numpy as np

from autovid.data.synthetic import synthetic_folder
from autovid.errors import DataError

EXTENSIONS = {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".3gp"}


class Video(msgspec.Struct, frozen=True):
    """A video, or its part from `start` to `end` seconds; `path` is relative to the set's root."""

    path: str
    label: int
    start: float | None = None
    end: float | None = None


class VideoSet(msgspec.Struct, frozen=True):
    """A data set: labels index `classes`. `fingerprint` names the index, so that a run resumes with the same data.

    `flip`: whether a mirrored video keeps its class (it does not where left and right are classes).
    """

    name: str
    root: Path
    classes: tuple[str, ...]
    train: tuple[Video, ...]
    val: tuple[Video, ...]
    flip: bool = True

    @property
    def fingerprint(self) -> str:
        """sha256 over classes, paths, labels and splits; not over the bytes of the videos."""
        return hashlib.sha256(msgspec.json.encode([self.classes, self.train, self.val, self.flip])).hexdigest()


def open_videos(source: str | Path, *, seed: int = 0, holdout: float = 0.2, cache: Path | None = None) -> VideoSet:
    """The data set called "synthetic", in a folder (one sub-folder a class), or listed in a CSV file.

    A folder or CSV without a split of its own has a stratified share `holdout` put aside as val, drawn with `seed`.
    Raises DataError.
    """
    if str(source) == "synthetic":
        return _from_folder(synthetic_folder(cache), "synthetic", seed, holdout, flip=False)
    path = Path(source)
    if path.is_dir():
        return _from_folder(path, path.name, seed, holdout)
    raise DataError(f"{source}: no such folder or CSV file; give one, or 'synthetic' for the embedded videos")


def halves(videos: Sequence[Video], seed: int) -> tuple[tuple[Video, ...], tuple[Video, ...]]:
    """Two disjoint halves with the same classes: one for the weights, one for the architecture."""
    return stratified(videos, 0.5, seed)


def stratified(videos: Sequence[Video], share: float, seed: int) -> tuple[tuple[Video, ...], tuple[Video, ...]]:
    """(the rest, a random `share` of every class); the odd ones of the classes go to either side in turn."""
    by_label: dict[int, list[int]] = defaultdict(list)
    for i, video in enumerate(videos):
        by_label[video.label].append(i)
    rng = np.random.default_rng((seed, 0x5117))
    taken: set[int] = set()
    seen = 0
    for label in sorted(by_label):
        members = by_label[label]
        seen += len(members)
        count = min(len(members) - 1, round(seen * share) - len(taken))  # a class keeps one video to learn from
        taken.update(members[i] for i in rng.permutation(len(members))[: max(0, count)])
    rest = tuple(video for i, video in enumerate(videos) if i not in taken)
    return rest, tuple(videos[i] for i in sorted(taken))


def _from_folder(root: Path, name: str, seed: int, holdout: float, flip: bool = True) -> VideoSet:
    split = (root / "train").is_dir() and (root / "val").is_dir()
    tops = [root / "train", root / "val"] if split else [root]
    classes = tuple(sorted({child.name for top in tops for child in top.iterdir() if child.is_dir()}))
    found = [tuple(_videos(root, top, classes)) for top in tops]
    train, val = found if split else stratified(found[0], holdout, seed)
    return VideoSet(name, root, classes, train, val, flip)


def _videos(root: Path, top: Path, classes: Sequence[str]) -> Iterable[Video]:
    for label, name in enumerate(classes):
        for folder, _, files in sorted(os.walk(top / name)):
            for file in sorted(files):
                if Path(file).suffix.lower() in EXTENSIONS:
                    yield Video((Path(folder) / file).relative_to(root).as_posix(), label)
