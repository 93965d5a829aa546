"""HMDB51: class/video.avi, and for each class and each of three folds a file class_test_split1.txt of `video number`.

1 is training, 2 is test (here validation), 0 neither. File names hold "#", "&", ";" and brackets.
"""

from collections.abc import Iterator
from pathlib import Path

from autovid.data.layouts.layout import Layout, Row, files, lines
from autovid.errors import DataError

SPLITS = {"1": "train", "2": "val"}


def read(root: Path, fold: int) -> Layout:
    """Classes in alphabetical order."""
    suffix = f"_test_split{fold}.txt"
    lists = {path.name.removesuffix(suffix): path for path in files(root, f"*{suffix}")}
    if not lists:
        raise DataError(f"{root}: no files CLASS{suffix} here or in a folder right below; they come with the data set")
    classes = tuple(sorted(lists))
    return Layout(classes, [row for label in classes for row in _rows(lists[label], label)])


def _rows(path: Path, label: str) -> Iterator[Row]:
    for where, line in lines(path):
        name, _, number = line.rpartition(" ")
        if number not in ("0", "1", "2") or not name.strip():
            raise DataError(f"{where}: {line!r}: expected a video and 0, 1 or 2")
        if number != "0":
            yield Row(where, f"{label}/{name.strip()}", label, SPLITS[number])
