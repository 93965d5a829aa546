"""UCF101: Class/v_Class_g01_c01.avi; classInd.txt of `number Class` from 1; trainlist01.txt of `path number`, and
testlist01.txt of paths alone; three folds."""

from collections.abc import Iterator
from pathlib import Path

from autovid.data.layouts.layout import Layout, Row, lines, one_file, ordered, whole
from autovid.errors import DataError

LISTS = {"train": "trainlist", "val": "testlist"}


def read(root: Path, fold: int) -> Layout:
    """Classes in the order of their numbers; the test list of a fold is its validation."""
    path = one_file(root, "classInd.txt")
    numbers = {}
    for where, line in lines(path):
        number, _, name = line.partition(" ")
        numbers[name.strip()] = whole(where, "number", number) - 1
    return Layout(ordered(path, numbers), [row for split in LISTS for row in _rows(root, split, fold, numbers)])


def _rows(root: Path, split: str, fold: int, classes: dict[str, int]) -> Iterator[Row]:
    for where, line in lines(one_file(root, f"{LISTS[split]}{fold:02d}.txt")):
        path, _, number = line.partition(" ")
        label, _, name = path.rpartition("/")
        if label not in classes or not name:
            raise DataError(f"{where}: {line!r}: expected CLASS/VIDEO.avi, with a class of classInd.txt")
        if number and whole(where, "number", number) - 1 != classes[label]:
            raise DataError(f"{where}: number {number} is not that of {label} in classInd.txt")
        yield Row(where, path, label, split)
