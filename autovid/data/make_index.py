"""From a data set as it is distributed to our index: which of its videos are here, and what was left out and why."""

import csv
import io
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from autovid.data.file_lookup import Tree, leaves
from autovid.data.index import Video, VideoSet, hold_out
from autovid.data.layouts import LAYOUTS, Layout, Row
from autovid.errors import ConfigError, DataError, did_you_mean

HOLDOUT = 0.2


class LeftOut(NamedTuple):
    """A row that did not become one of the index."""

    where: str
    path: str
    reason: str


def read_data_set(name: str, root: Path, *, fold: int = 1, seed: int = 0) -> tuple[VideoSet, list[LeftOut]]:
    """The videos of the data set `name` (a key of LAYOUTS) in the folder `root`, and the rows that were left out.

    Left out are videos that are not there, and of a video listed twice the later row, or the one for training where the
    other is for validation. `fold`: which of the official splits of UCF101 and HMDB51; `seed`: of what is random.
    Raises ConfigError; DataError where a list is missing or has a bad row, or no video is there.
    """
    if name not in LAYOUTS:
        raise ConfigError(f"data set {name!r}: {did_you_mean(name, LAYOUTS)}choose one of {', '.join(LAYOUTS)}")
    if not root.is_dir():
        raise DataError(f"{root}: no such folder")
    layout = LAYOUTS[name](root, fold)
    found, left_out = _matched(layout, root)
    if not found:
        first = f", first {left_out[0].path} ({left_out[0].where})" if left_out else ""
        raise DataError(f"{root}: none of the {len(left_out)} listed videos is in the folder{first}")
    if layout.choose:
        found = layout.choose(found, layout.classes, seed)
    return _set(name, root, layout, found, seed), left_out


def left_out_table(rows: list[LeftOut]) -> str:
    """CSV with a header."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([LeftOut._fields, *rows])
    return text.getvalue()


def summary(rows: list[LeftOut]) -> dict[str, int]:
    """How many rows each reason has."""
    return dict(Counter(row.reason for row in rows).most_common())


def _matched(layout: Layout, root: Path) -> tuple[list[tuple[str, Video]], list[LeftOut]]:
    tree = None if layout.exact else Tree(root)
    label_of = {name: label for label, name in enumerate(layout.classes)}
    taken: dict[Video, tuple[str, Row]] = {}  # by path and part; the label is in the row
    left_out = []
    for row in layout.rows:
        path = _located(row, root, tree)
        if path is None:
            left_out.append(LeftOut(row.where, row.path, "not in the folder"))
            continue
        key = Video(path, 0, row.start, row.end)
        if key not in taken or (taken[key][0], row.split) == ("train", "val"):
            if key in taken:
                left_out.append(_doubled(taken[key][1], row))
            taken[key] = row.split, row
        else:
            left_out.append(_doubled(row, taken[key][1]))
    found = [(split, Video(key.path, label_of[row.label], key.start, key.end)) for key, (split, row) in taken.items()]
    return found, left_out


def _located(row: Row, root: Path, tree: Tree | None) -> str | None:
    if not row.path or leaves(root, row.path):
        raise DataError(f"{row.where}: {row.path!r} leaves {root}; paths must stay inside")
    if tree is None:
        return row.path
    path = tree.find(row.path, row.split)
    if path is not None and leaves(root, path):
        raise DataError(f"{row.where}: {path} is a link that leaves {root}; put the video itself there")
    return path


def _doubled(row: Row, kept: Row) -> LeftOut:
    if row.split != kept.split:
        reason = f"listed for {kept.split} too"
    elif row.label != kept.label:
        reason = "listed before with another class"
    else:
        reason = "listed before"
    return LeftOut(row.where, row.path, reason)


def _set(name: str, root: Path, layout: Layout, found: list[tuple[str, Video]], seed: int) -> VideoSet:
    classes = layout.classes
    if layout.choose:
        kept = sorted({video.label for _, video in found})
        found = [(split, Video(v.path, kept.index(v.label), v.start, v.end)) for split, v in found]
        classes = tuple(classes[label] for label in kept)
    train, val = (tuple(video for its, video in found if its == split) for split in ("train", "val"))
    if undecided := [video for split, video in found if not split]:
        train, val = hold_out(undecided, HOLDOUT, seed)
    return VideoSet(name, root, classes, train, val, layout.flip)
