"""Something-Something V1: folders of JPEG frames called by their number, `id;label` lists, a file of the 174 labels."""

from collections.abc import Iterator
from pathlib import Path

from autovid.data.layouts.layout import Layout, Row, lines, one_file
from autovid.errors import DataError

SPLITS = {"train": "train", "val": "validation"}


def read(root: Path, fold: int) -> Layout:
    """Labels in the order of their file. A mirrored video is of another class where the label says left or right."""
    classes = tuple(name for _, name in lines(one_file(root, "something-something-v1-labels.csv")))
    known = set(classes)
    return Layout(classes, [row for split in SPLITS for row in _rows(root, split, known)], flip=False)


def _rows(root: Path, split: str, classes: set[str]) -> Iterator[Row]:
    for where, line in lines(one_file(root, f"something-something-v1-{SPLITS[split]}.csv")):
        name, _, label = line.partition(";")
        if label not in classes:
            raise DataError(f"{where}: label {label!r} is not in something-something-v1-labels.csv")
        yield Row(where, name, label, split)
