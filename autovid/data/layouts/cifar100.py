"""CIFAR-100: train.bin, test.bin and fine_label_names.txt of `cifar-100-binary`. A row is a record, `train.bin#0` on.

The images of test.bin are its validation, as the papers have it.
"""

from collections.abc import Iterator
from pathlib import Path

from autovid.data.file_lookup import inside
from autovid.data.images import fine_labels
from autovid.data.layouts.layout import Layout, Row, lines, one_file
from autovid.errors import DataError

FILES = {"train": "train.bin", "val": "test.bin"}


def read(root: Path, fold: int) -> Layout:
    """The fine labels, in the order of their file."""
    path = one_file(root, "fine_label_names.txt")
    classes = tuple(name for _, name in lines(path))
    if len(set(classes)) < len(classes):
        raise DataError(f"{path}: a class is named twice")
    return Layout(classes, [row for split in FILES for row in _rows(root, split, classes)], exact=True)


def _rows(root: Path, split: str, classes: tuple[str, ...]) -> Iterator[Row]:
    path = one_file(root, FILES[split])
    if not inside(root, path):
        raise DataError(f"{path}: a link that leaves {root}; put the file itself there")
    listed = path.relative_to(root).as_posix()
    for number, label in enumerate(fine_labels(path).tolist()):
        if label >= len(classes):
            raise DataError(
                f"{path}, record {number}: label {label}, but fine_label_names.txt has {len(classes)} names"
            )
        yield Row(str(path), f"{listed}#{number}", classes[label], split)
