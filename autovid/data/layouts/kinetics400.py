"""Kinetics-400: the official CSV files and videos called `YOUTUBE-ID_000010_000020.mp4`, or lists of `path label`.

CSV columns: label,youtube_id,time_start,time_end,split, and is_cc in later editions; the split of validation videos is
"val" or "validate". Videos of the test split are left alone. Classes in alphabetical order.
"""

from collections.abc import Iterator
from pathlib import Path

from autovid.data.file_lookup import SPLITS
from autovid.data.layouts import path_lists
from autovid.data.layouts.layout import Layout, Row, files, records, whole
from autovid.errors import DataError

COLUMNS = ("label", "youtube_id", "time_start", "time_end", "split")


def read(root: Path, fold: int) -> Layout:
    """The rows of the official files where there are some, else of the lists."""
    official = [path for path in files(root, "*.csv") if _is_official(path)]
    if not official:
        return path_lists.read(root)
    rows = [row for path in official for row in _rows(path)]
    return Layout(tuple(sorted({row.label for row in rows})), rows)


def _is_official(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.readline(1000).decode("utf-8-sig", "replace")
    return {"label", "youtube_id"} <= {cell.strip('" \r\n') for cell in head.split(",")}


def _rows(path: Path) -> Iterator[Row]:
    for where, row in records(path, COLUMNS):
        split = row["split"].lower()
        if split == "test":
            continue
        if split not in SPLITS["train"] | SPLITS["val"]:
            raise DataError(f"{where}: split {row['split']!r}: must be train, val, validate or test")
        if not row["label"] or not row["youtube_id"]:
            raise DataError(f"{where}: an empty label or youtube_id")
        start, end = (whole(where, name, row[name]) for name in ("time_start", "time_end"))
        name = f"{row['youtube_id']}_{start:06d}_{end:06d}.mp4"
        yield Row(where, name, row["label"], "train" if split in SPLITS["train"] else "val")
