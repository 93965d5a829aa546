"""Data sets as indexes: which videos, with which labels, in which split; and indexes on disk.

An index is a CSV file; INDEX.about.json beside INDEX.csv holds what a CSV cannot say.
"""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from autovid.data.lists import csv_text
from autovid.data.shards import Root, Shards
from autovid.errors import DataError
from autovid.fileio import explained, write_atomic

SPLITS = ("train", "val", "test")
MARK = ";"  # between the classes of a video that has several
PARTS_TOGETHER = ", all parts of a file together"


class Video(msgspec.Struct, frozen=True):
    """A video, or its part from `start` to `end` seconds; `path` is relative to the set's root, `label` a class.

    `also`: the other classes of a video that has several.
    """

    path: str
    label: int
    start: float | None = None
    end: float | None = None
    also: tuple[int, ...] = ()

    @property
    def labels(self) -> tuple[int, ...]:
        """All classes of the video."""
        return (self.label, *self.also)


class VideoSet(msgspec.Struct, frozen=True):
    """A data set: labels index `classes`, paths are relative to `root`, a folder or a packed set.

    `flip`: a mirrored video keeps its class; it does not where left and right are classes. Nothing is chosen by `test`.
    `held_out`: `val` was taken from what the source has to train on, as it has none.
    """

    name: str
    root: Root
    classes: tuple[str, ...]
    train: tuple[Video, ...]
    val: tuple[Video, ...]
    flip: bool = True
    test: tuple[Video, ...] = ()
    held_out: bool = False

    @property
    def videos(self) -> tuple[Video, ...]:
        """The videos of all splits."""
        return (*self.train, *self.val, *self.test)

    @property
    def multi_label(self) -> bool:
        """True if any video has several classes: then each class is a yes or a no of its own."""
        return any(video.also for video in self.videos)

    @property
    def size(self) -> "DataSet":
        """Return the name and the numbers of classes and videos."""
        return DataSet(self.name, len(self.classes), len(self.train), len(self.val))

    def gaps(self) -> list[str]:
        """Say which classes lack videos to learn from, or, where others have some, to validate."""
        lines = []
        for split, own, effect in (("train", self.train, "cannot be learned"), ("val", self.val, "do not count")):
            seen = {label for video in own for label in video.labels}
            empty = [name for label, name in enumerate(self.classes) if label not in seen]
            if empty and own:
                names = ", ".join(empty[:5]) + (", ..." if len(empty) > 5 else "")
                lines.append(
                    f"{self.name}: {len(empty)} of {len(self.classes)} classes have no videos in {split}: {names}; "
                    f"they {effect}{' in accuracies' * (split == 'val')}"
                )
        return lines

    def doubled(self) -> list[str]:
        """Say which videos stand under two classes, and which have parts in train and in val."""
        labels: dict[tuple[str, float | None, float | None], set[tuple[int, ...]]] = defaultdict(set)
        for video in self.videos:
            labels[video.path, video.start, video.end].add(video.labels)
        twice = [path for (path, *_), own in labels.items() if len(own) > 1]
        both = {video.path for video in self.train} & {video.path for video in self.val}
        lines = ((twice, "listed under several classes"), (both, "with parts in train and in val"))
        return [f"{self.name}: {len(paths)} {text}, first {min(paths)}" for paths, text in lines if paths]

    @property
    def fingerprint(self) -> str:
        """sha256 of what a training sees (classes, paths, labels; not the videos' bytes), to tell data sets apart."""
        index = msgspec.to_builtins((self.classes, self.train, self.val, self.flip))
        for video in (*index[1], *index[2]):
            if not video["also"]:  # as before there were several classes a video
                del video["also"]
        return hashlib.sha256(json.dumps(index).encode()).hexdigest()


class DataSet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Size of a data set: of one that is there, or as a paper has it."""

    name: str
    classes: int
    train: int
    val: int

    def __str__(self) -> str:
        return f"{self.name}: {self.classes} classes, {self.train:,} videos, {self.val:,} in val"


class IndexMetadata(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Content of INDEX.about.json: `classes` in the order of the labels, those without a video included.

    `flip`: a mirrored video keeps its class. `root`: the folder that the paths are relative to, where it is not that of
    the index; it must be absolute. `provenance` says how the index was made.
    """

    classes: tuple[str, ...]
    flip: bool = True
    root: str | None = None
    provenance: dict[str, Any] = {}


def check_classes(videos: VideoSet) -> None:
    """Raise DataError where all videos to train on are of one class."""
    labels = {label for video in videos.train for label in video.labels}
    if len(labels) == 1:
        raise DataError(
            f"{videos.name}: all videos to train on are of one class, {videos.classes[labels.pop()]}, and one class is "
            "nothing to learn; give videos of another, of what is not it, say"
        )


def check_for_search(videos: VideoSet, fraction: float = 0.5, seed: int = 0) -> None:
    """Raise DataError where a class would lack videos to learn from or, in `fraction` of all, held-out ones.

    A search compares architectures by top-1, which videos of several classes do not have.
    """
    check_classes(videos)
    if videos.multi_label:
        raise DataError(
            f"{videos.name}: videos have several classes, and a search takes videos of one; search on a set of these, "
            "then train the architecture on this one"
        )
    parts = have_parts(videos.train)
    counts = Counter(label for _, label in {(video.path, video.label) for video in videos.train})
    if alone := [label for label in counts if counts[label] == 1]:
        raise DataError(
            f"{videos.name}: a search needs two training {'files' if parts else 'videos'} of each class, since some "
            f"are held out{PARTS_TOGETHER * parts}; {len(alone)} {'class has' if len(alone) == 1 else 'classes have'} "
            f"one: {_named(videos, alone)}"
        )
    held_out = {video.label for video in hold_out(videos.train, fraction, seed)[1]}
    lacking = counts.keys() - held_out
    if lacking and (parts or not held_out):
        raise DataError(
            f"{videos.name}: a search holds out {fraction:g} of the training videos{PARTS_TOGETHER * parts}, and none "
            f"would be of {len(lacking)} of {len(counts)} classes: {_named(videos, lacking)}; give more files of "
            "them, or a larger --held-out-fraction"
        )


def have_parts(videos: Sequence[Video]) -> bool:
    """Return True if any file has several of the videos as its parts."""
    return len({video.path for video in videos}) < len(videos)


def _named(videos: VideoSet, labels: Iterable[int]) -> str:
    names = [videos.classes[label] for label in sorted(labels)]
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def hold_out(
    videos: Sequence[Video], fraction: float, seed: int, least: int = 0, *, by_file: bool = True
) -> tuple[tuple[Video, ...], tuple[Video, ...]]:
    """Return (the rest, what is held out): a random fraction of every class, of which one video stays in the rest.

    `least` are held out of every class that has more, whatever the fraction. `by_file`: all parts of a file go to one
    side, as they look alike; a file counts for the class of its first part. Where files have several parts, one of each
    class with two files or more is held out at least, if that leaves some of every class.
    """
    files: dict[str | int, list[int]] = defaultdict(list)
    for i, video in enumerate(videos):
        files[video.path if by_file else i].append(i)
    members: dict[int, list[list[int]]] = defaultdict(list)
    for file in files.values():
        members[videos[file[0]].label].append(file)
    rng = np.random.default_rng((*b"split", 256, seed))
    left = Counter(video.label for video in videos)
    taken: set[int] = set()

    def take(file: Sequence[int]) -> bool:
        counts = Counter(videos[i].label for i in file)
        if any(left[one] <= count for one, count in counts.items()):
            return False
        taken.update(file)
        left.subtract(counts)
        return True

    parts = len(files) < len(videos)
    least = max(least, int(parts))
    seen = 0
    for label in sorted(members):
        own = [members[label][i] for i in rng.permutation(len(members[label]))]
        seen += sum(map(len, own))
        # Rounding what all classes so far should have given, not each class, makes the total right.
        quota = max(least * min(map(len, own)), int(seen * fraction + 0.5) - len(taken))
        for file in own:
            if len(file) <= 2 * quota and take(file):
                quota -= len(file)
    for label in sorted(left) if parts else ():  # the shortest file may have been one that had to stay
        if not any(videos[i].label == label for i in taken):
            any(map(take, sorted((f for f in files.values() if any(videos[i].label == label for i in f)), key=len)))
    rest = tuple(video for i, video in enumerate(videos) if i not in taken)
    return rest, tuple(videos[i] for i in sorted(taken))


def metadata_path(index: Path) -> Path:
    """Return the path of the metadata of an index."""
    return index.with_name(index.stem + ".about.json")


def read_metadata(index: Path) -> IndexMetadata | None:
    """Read the metadata of an index; None where there is no such file. Raises DataError."""
    path = metadata_path(index)
    if not path.exists():
        return None
    try:
        metadata = msgspec.json.decode(path.read_bytes(), type=IndexMetadata)
    except (OSError, msgspec.MsgspecError) as error:
        raise DataError(f"{path}: {error}") from error
    if len(set(metadata.classes)) < len(metadata.classes):
        raise DataError(f"{path}: a class is named twice")
    if metadata.root is not None and not Path(metadata.root).is_absolute():
        raise DataError(f"{path}: root {metadata.root!r} must be an absolute path")
    return metadata


def write_index(out: Path, videos: VideoSet, provenance: dict[str, Any]) -> None:
    """Write the metadata of the index `out`, then the index, each in one move.

    Paths are relative to the folder of `out` where the videos lie below it, so that both can be moved together;
    otherwise the metadata name the root. Raises DataError where `out` is no .csv, RunError where it cannot be written.
    """
    if out.suffix.lower() != ".csv":
        raise DataError(f"{out}: an index is a .csv file")
    if isinstance(videos.root, Shards):
        raise DataError(f"{videos.root} is packed, and has an index of its own; do this to what it was packed from")
    with explained(f"cannot make {out.parent}"):
        out.parent.mkdir(parents=True, exist_ok=True)
    root, home = videos.root.resolve(), out.parent.resolve()
    below = root.is_relative_to(home)
    prefix = root.relative_to(home) if below else Path()
    metadata = IndexMetadata(videos.classes, videos.flip, None if below else str(root), provenance)
    write_atomic(metadata_path(out), msgspec.json.format(msgspec.json.encode(metadata)) + b"\n")
    write_atomic(out, csv_text(_rows(videos, prefix)))


def _rows(videos: VideoSet, prefix: Path) -> Iterator[list[str]]:
    rows = [(split, video) for split in SPLITS for video in getattr(videos, split)]
    parts = any(video.start is not None or video.end is not None for _, video in rows)
    yield ["path", "label", *(["start", "end"] if parts else []), "split"]
    for split, video in rows:
        times = ["" if time is None else f"{time:.10g}" for time in (video.start, video.end)] if parts else []
        label = MARK.join(videos.classes[label] for label in video.labels)
        yield [(prefix / video.path).as_posix(), label, *times, split]
