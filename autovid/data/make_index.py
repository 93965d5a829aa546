"""From a data set as it is distributed to our index: the videos that are on disk, and what is left out and why."""

from collections import Counter
from pathlib import Path
from typing import NamedTuple

from autovid.data.file_lookup import EXTENSIONS, FileLookup, leaves
from autovid.data.index import SPLITS, Video, VideoSet, hold_out
from autovid.data.layouts import LAYOUTS, Layout, ListedVideo
from autovid.data.lists import csv_text
from autovid.data.sources import label_names
from autovid.errors import DataError

HOLDOUT = 0.2
NO_VIDEO = f"without a video's ending ({', '.join(EXTENSIONS)})"


class LeftOut(NamedTuple):
    """A row that did not become one of the index."""

    where: str
    path: str
    reason: str


def read_data_set(name: str, root: Path, *, fold: int = 1, seed: int = 0) -> tuple[VideoSet, list[LeftOut]]:
    """Return the videos of the data set `name` (a key of LAYOUTS) in the folder `root`, and the rows left out.

    Left out are videos that are not there, files of one's own folders that do not end like a video, and of a video
    listed twice the later row, or the one for training where the other is for validation or test. `fold`: which of the
    official splits of UCF101 and HMDB51; `seed`: of what is random. Raises ConfigError; DataError where a list is
    missing or has a bad row, or no video is there.
    """
    read = LAYOUTS.load(name)
    if not root.is_dir():
        raise DataError(f"{root}: no such folder")
    layout = read(root, fold)
    videos, left_out = _matched(layout, root)
    left_out += [LeftOut(str(root), path, NO_VIDEO) for path in layout.others]
    if not videos:
        first = f", first {left_out[0].path} ({left_out[0].where})" if left_out else ""
        raise DataError(f"{root}: none of the {len(left_out)} listed videos is in the folder{first}")
    if layout.choose:
        videos = layout.choose(videos, layout.classes, seed)
    return _video_set(name, root, layout, videos, seed), left_out


def left_out_table(rows: list[LeftOut]) -> str:
    """Return CSV text with a header."""
    return csv_text([LeftOut._fields, *rows])


def summary(rows: list[LeftOut]) -> dict[str, int]:
    """Return the number of rows of each reason."""
    return dict(Counter(row.reason for row in rows).most_common())


def _matched(layout: Layout, root: Path) -> tuple[list[tuple[str, Video]], list[LeftOut]]:
    lookup = None if layout.exact else FileLookup(root)
    label_of = {name: label for label, name in enumerate(layout.classes)}
    taken: dict[Video, tuple[str, ListedVideo]] = {}  # by path and part; the label is in the row
    left_out = []
    for row in layout.rows:
        path = _located(row, root, lookup)
        if path is None:
            left_out.append(LeftOut(row.where, row.path, "not in the folder"))
            continue
        key = Video(path, 0, row.start, row.end)
        if key not in taken or (taken[key][0] == "train" and row.split in ("val", "test")):
            if key in taken:
                left_out.append(_doubled(taken[key][1], row))
            taken[key] = row.split, row
        else:
            left_out.append(_doubled(row, taken[key][1]))
    videos = []
    for key, (split, row) in taken.items():
        own = [label_of[name] for name in label_names(row, label_of)]
        videos.append((split, Video(key.path, own[0], key.start, key.end, tuple(own[1:]))))
    return videos, left_out


def _located(row: ListedVideo, root: Path, lookup: FileLookup | None) -> str | None:
    if not row.path or leaves(root, row.path):
        raise DataError(f"{row.where}: {row.path!r} leaves {root}; paths must stay inside")
    if lookup is None:
        return row.path
    path = lookup.find(row.path, row.split)
    if path is not None and leaves(root, path):
        raise DataError(f"{row.where}: {path} is a link that leaves {root}; put the video itself there")
    return path


def _doubled(row: ListedVideo, kept: ListedVideo) -> LeftOut:
    if row.split != kept.split:
        reason = f"listed for {kept.split} too"
    elif row.label != kept.label:
        reason = "listed before with another class"
    else:
        reason = "listed before"
    return LeftOut(row.where, row.path, reason)


def _video_set(name: str, root: Path, layout: Layout, videos: list[tuple[str, Video]], seed: int) -> VideoSet:
    classes = layout.classes
    if layout.choose:
        kept = sorted({video.label for _, video in videos})
        videos = [(split, Video(v.path, kept.index(v.label), v.start, v.end)) for split, v in videos]
        classes = tuple(classes[label] for label in kept)
    train, val, test = (tuple(video for own, video in videos if own == split) for split in SPLITS)
    if undecided := [video for split, video in videos if not split]:
        train, val = hold_out(undecided, HOLDOUT, seed, least=1)
    return VideoSet(name, root, classes, train, val, layout.flip, test)
