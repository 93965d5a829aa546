"""Lists of `path label`, as most toolkits make them, and of `path start end label`: one for each split.

The latter are those of Chen et al., "Deep Analysis of CNN-based Spatio-temporal Representations for Action
Recognition", 2021, arXiv 2010.11757, separated by spaces or semicolons, for frames 00001.jpg; start and end are the
numbers of the first and the last frame.
"""

import re
from collections.abc import Callable
from pathlib import Path

from autovid.data.layouts import Layout, ListedVideo, files, split_of
from autovid.data.lists import lines, whole_number
from autovid.errors import DataError

NAMES = ("label_map*.txt", "classes.txt", "*_classes.txt")


def read_path_lists(root: Path) -> Layout:
    """Read all `path label` lists of a folder; the label is a number or a name, after a space, a tab, or a comma."""
    return _read(root, _path_label)


def read_ibm(root: Path, fold: int) -> Layout:
    """Read lists of `path start end label`, where the label is a number."""
    return _read(root, _path_start_end_label)


def split_lists(root: Path) -> dict[str, Path]:
    """Return the text file of each split; its name says which (k400_val.list, say).

    train.txt comes before mini_train.txt. Raises DataError.
    """
    lists: dict[str, list[Path]] = {"train": [], "val": []}
    for path in [path for suffix in ("txt", "csv", "list", "lst") for path in files(root, f"*.{suffix}")]:
        if split := split_of(path):
            lists[split].append(path)
    for split, paths in lists.items():
        paths[:] = [path for path in paths if path.stem == split] or paths
        if len(paths) > 1:
            raise DataError(f"{paths[0]} and {paths[1]}: two lists of the split {split}; leave one in {root}")
    if not lists["train"]:
        raise DataError(f"{root}: no list of the training videos (train.txt, say) here or in a folder right below")
    return {split: paths[0] for split, paths in lists.items() if paths}


def numbered_classes(root: Path, last: int) -> tuple[str, ...]:
    """Return the names of classes 0 to `last`: the lines of a file of names where there is one, else the numbers."""
    for pattern in NAMES:
        for path in files(root, pattern):
            names = tuple(name for _, name in lines(path))
            if last < len(names) == len(set(names)):
                return names
            raise DataError(f"{path}: {len(names)} names, {len(set(names))} of them different, for {last + 1} classes")
    return tuple(map(str, range(last + 1)))


def _read(root: Path, parse: Callable[[str, str, str], ListedVideo]) -> Layout:
    """Read the list of each split by `parse(where, line, split)`; names replace labels that are all numbers."""
    splits = split_lists(root).items()
    rows: list[ListedVideo] = [parse(where, line, split) for split, path in splits for where, line in lines(path)]
    if not all(row.label.isdecimal() and row.label.isascii() for row in rows):
        return Layout(tuple(sorted({row.label for row in rows})), rows)
    classes = numbered_classes(root, max((whole_number(row.where, "label", row.label) for row in rows), default=0))
    return Layout(classes, [row._replace(label=classes[int(row.label)]) for row in rows])


def _path_label(where: str, line: str, split: str) -> ListedVideo:
    match = re.fullmatch(r"(?P<path>.+?)\s*[,\s]\s*(?P<label>[^\s,]+)", line)
    if not match:
        raise DataError(f"{where}: {line[:100]!r} is not a path and a label")
    return ListedVideo(where, match["path"], match["label"], split)


def _path_start_end_label(where: str, line: str, split: str) -> ListedVideo:
    parts = line.rsplit(";" if line.count(";") >= 3 else None, 3)
    if len(parts) < 4:
        raise DataError(f"{where}: {line[:100]!r}: expected path, start, end and label")
    first, last, label = (whole_number(where, name, text) for name, text in zip(("start", "end", "label"), parts[1:]))
    if last < first:
        raise DataError(f"{where}: end {last} is before start {first}")
    return ListedVideo(where, parts[0].strip(), str(label), split, first, last + 1)
