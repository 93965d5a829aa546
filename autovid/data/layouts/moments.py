"""Moments in Time: trainingSet.csv and validationSet.csv of `class/file.mp4,class,votes,votes`, videos below training/
and validation/, moments_categories.txt of `class,number`."""

from collections.abc import Iterator
from pathlib import Path

from autovid.data.layouts.layout import Layout, Row, cells, lines, one_file, ordered, whole
from autovid.errors import DataError

LISTS = {"train": "trainingSet.csv", "val": "validationSet.csv"}


def read(root: Path, fold: int) -> Layout:
    """Classes in the order of their numbers."""
    path = one_file(root, "moments_categories.txt")
    numbers = {}
    for where, line in lines(path):
        name, _, number = line.rpartition(",")
        numbers[name.strip()] = whole(where, "number", number)
    return Layout(ordered(path, numbers), [row for split in LISTS for row in _rows(root, split, numbers)])


def _rows(root: Path, split: str, classes: dict[str, int]) -> Iterator[Row]:
    for where, row in cells(one_file(root, LISTS[split])):
        if len(row) < 2 or not row[0]:
            raise DataError(f"{where}: not a path and a class")
        if row[1] not in classes:
            raise DataError(f"{where}: class {row[1]!r} is not in moments_categories.txt")
        yield Row(where, row[0], row[1], split)
