"""The lists of "Deep Analysis of CNN-based Spatio-temporal Representations": `path start end label`, frames 00001.jpg.

One list a split, separated by spaces or semicolons; start and end are the numbers of the first and the last frame.
"""

from collections.abc import Iterator
from pathlib import Path

from autovid.data.layouts.layout import Layout, Row, lines, whole
from autovid.data.layouts.path_lists import numbered_classes, split_lists
from autovid.errors import DataError


def read(root: Path, fold: int) -> Layout:
    """Class names from label_map*.txt or classes.txt where there is one, else the labels' numbers."""
    rows = [row for split, path in split_lists(root).items() for row in _rows(path, split)]
    classes = numbered_classes(root, {int(row.label) for row in rows})
    return Layout(classes, [row._replace(label=classes[int(row.label)]) for row in rows])


def _rows(path: Path, split: str) -> Iterator[Row]:
    for where, line in lines(path):
        parts = line.rsplit(";" if line.count(";") >= 3 else None, 3)
        if len(parts) < 4:
            raise DataError(f"{where}: {line[:100]!r}: expected path, start, end and label")
        first, last, label = (whole(where, name, text) for name, text in zip(("start", "end", "label"), parts[1:]))
        if last < first:
            raise DataError(f"{where}: end {last} is before start {first}")
        yield Row(where, parts[0].strip(), str(label), split, first, last + 1)
