"""Kinetics-400, and the Kinetics-200 that is drawn from it.

Kinetics-400: the official CSV files and videos called `YOUTUBE-ID_000010_000020.mp4`, or lists of `path label`. CSV
columns: label,youtube_id,time_start,time_end,split, and is_cc in later editions; the split of validation videos is
"val" or "validate". Videos of the test split are left alone. Classes in alphabetical order.

Kinetics-200: the 200 largest classes of Kinetics-400, with 400 training and 25 validation videos each (Cai et al.,
"Dynamic Normalization and Relay for Video Action Recognition", 2021, supplement, section A). Its authors did not
publish the videos: here a seed draws them from those that exist; classes are compared by the number of their training
and validation videos that exist, equal ones by name.
"""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from autovid.data.file_lookup import SPLITS
from autovid.data.index import Video
from autovid.data.layouts import Layout, ListedVideo, files
from autovid.data.layouts.path_lists import read_path_lists
from autovid.data.lists import records, whole_number
from autovid.errors import DataError

COLUMNS = ("label", "youtube_id", "time_start", "time_end", "split")
CLASSES = 200
VIDEOS = {"train": 400, "val": 25}


def read_kinetics400(root: Path, fold: int) -> Layout:
    """Read the official files where there are some, else the lists."""
    official = [path for path in files(root, "*.csv") if _is_official(path)]
    if not official:
        return read_path_lists(root)
    rows = [row for path in official for row in _rows(path)]
    return Layout(tuple(sorted({row.label for row in rows})), rows)


def read_kinetics200(root: Path, fold: int) -> Layout:
    """Read all rows of Kinetics-400; `choose` draws from them."""
    return read_kinetics400(root, fold)._replace(choose=choose)


def choose(videos: list[tuple[str, Video]], classes: tuple[str, ...], seed: int) -> list[tuple[str, Video]]:
    """Draw at most VIDEOS of each split of each of the CLASSES largest classes."""
    members: dict[int, dict[str, list[Video]]] = defaultdict(lambda: {"train": [], "val": []})
    for split, video in videos:
        members[video.label][split].append(video)
    largest = sorted(members, key=lambda label: (-sum(map(len, members[label].values())), classes[label]))[:CLASSES]
    rng = np.random.default_rng((*b"kinetics200", 256, seed))
    chosen = []
    for label in sorted(largest):
        for split, most in VIDEOS.items():
            own = members[label][split]
            places = sorted(rng.permutation(len(own))[:most].tolist())
            chosen += [(split, own[place]) for place in places]
    return chosen


def _is_official(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.readline(1000).decode("utf-8-sig", "replace")
    return {"label", "youtube_id"} <= {cell.strip('" \r\n') for cell in head.split(",")}


def _rows(path: Path) -> Iterator[ListedVideo]:
    for where, row in records(path, COLUMNS):
        split = row["split"].lower()
        if split == "test":
            continue
        if split not in SPLITS["train"] | SPLITS["val"]:
            raise DataError(f"{where}: split {row['split']!r}: must be train, val, validate or test")
        if not row["label"] or not row["youtube_id"]:
            raise DataError(f"{where}: an empty label or youtube_id")
        start, end = (whole_number(where, name, row[name]) for name in ("time_start", "time_end"))
        name = f"{row['youtube_id']}_{start:06d}_{end:06d}.mp4"
        yield ListedVideo(where, name, row["label"], "train" if split in SPLITS["train"] else "val")
