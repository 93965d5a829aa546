"""A CSV of one's own, `path,label[,start,end][,split]`: checked against the disk and written down anew."""

from pathlib import Path

from autovid.data.index_metadata import about_path
from autovid.data.layouts.layout import Layout, Row
from autovid.data.sources import csv_labels, csv_rows
from autovid.errors import DataError


def read(root: Path, fold: int) -> Layout:
    """The one CSV file in the folder that is not an index of ours, its classes in the order that training takes."""
    found = [
        path for path in sorted(root.glob("*.csv")) if not about_path(path).exists() and ".left-out" not in path.name
    ]
    if len(found) != 1:
        raise DataError(f"{root}: {len(found)} CSV files where one is expected: path,label[,start,end][,split]")
    rows = list(csv_rows(found[0], root))
    if not rows:
        raise DataError(f"{found[0]}: no rows of path,label[,start,end[,split]]")
    classes, labels = csv_labels(rows, None)
    return Layout(
        classes,
        [Row(row.where, row.path, classes[label], row.split, row.start, row.end) for row, label in zip(rows, labels)],
    )
