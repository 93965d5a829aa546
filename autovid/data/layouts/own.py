"""Data of one's own: a folder with a sub-folder a class, or a CSV file, as `--data` reads them, written down anew."""

from pathlib import Path

from autovid.data.file_lookup import other_files
from autovid.data.index import MARK, SPLITS, metadata_path
from autovid.data.layouts import Layout, ListedVideo
from autovid.data.sources import csv_labels, csv_rows, open_videos
from autovid.errors import DataError


def read_folders(root: Path, fold: int) -> Layout:
    """List a sub-folder a class, or train/, val/ and test/ with these inside; classes in alphabetical order."""
    videos = open_videos(root, holdout=0)
    splits = {split: getattr(videos, split) for split in SPLITS} if videos.val or videos.test else {"": videos.train}
    rows = [
        ListedVideo(str(root), video.path, videos.classes[video.label], split)
        for split, own in splits.items()
        for video in own
    ]
    others = tuple(path.relative_to(root).as_posix() for path in other_files(root))
    return Layout(videos.classes, rows, others=others)


def read_csv(root: Path, fold: int) -> Layout:
    """Read the one CSV file in the folder that is not an index of ours, its classes in the order that training takes.

    Columns: `path,label[,start,end][,split]`; a label may be several, with `;` between.
    """
    tables = [
        path
        for path in sorted(root.glob("*.csv"))
        if not metadata_path(path).exists() and not path.stem.endswith((".left-out", ".broken"))
    ]
    if len(tables) != 1:
        raise DataError(f"{root}: {len(tables)} CSV files where one is expected: path,label[,start,end][,split]")
    rows = list(csv_rows(tables[0], root))
    if not rows:
        raise DataError(f"{tables[0]}: no rows of path,label[,start,end[,split]]")
    classes, labels = csv_labels(rows, None)
    named = [MARK.join(classes[label] for label in own) for own in labels]
    return Layout(classes, [row._replace(label=label) for row, label in zip(rows, named)])
