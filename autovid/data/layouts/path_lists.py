"""Lists of `path label`, one for training and one for validation, as most toolkits make them."""

import re
from collections.abc import Iterator
from pathlib import Path

from autovid.data.layouts.layout import Layout, Row, files, lines, split_of, whole
from autovid.errors import DataError

NAMES = ("label_map*.txt", "classes.txt", "*_classes.txt")


def split_lists(root: Path) -> dict[str, Path]:
    """The text file of each split; its name says which (k400_val.list, say), and train.txt comes before mini_train.txt.

    Raises DataError.
    """
    lists: dict[str, list[Path]] = {"train": [], "val": []}
    for path in [path for suffix in ("txt", "csv", "list", "lst") for path in files(root, f"*.{suffix}")]:
        if split := split_of(path):
            lists[split].append(path)
    for split, found in lists.items():
        found[:] = [path for path in found if path.stem == split] or found
        if len(found) > 1:
            raise DataError(f"{found[0]} and {found[1]}: two lists of the split {split}; leave one in {root}")
    if not lists["train"]:
        raise DataError(f"{root}: no list of the training videos (train.txt, say) here or in a folder right below")
    return {split: found[0] for split, found in lists.items() if found}


def numbered_classes(root: Path, numbers: set[int]) -> tuple[str, ...]:
    """The names of numbered classes: the lines of a file of names where there is one, else the numbers themselves."""
    last = max(numbers, default=0)
    for pattern in NAMES:
        for path in files(root, pattern):
            names = tuple(name for _, name in lines(path))
            if last < len(names) == len(set(names)):
                return names
            raise DataError(f"{path}: {len(names)} names, {len(set(names))} of them different, for {last + 1} classes")
    return tuple(map(str, range(last + 1)))


def read(root: Path) -> Layout:
    """All `path label` lists of a folder; the label is a number or a name, after a space, a tab, or a comma."""
    rows = [row for split, path in split_lists(root).items() for row in _rows(path, split)]
    if not all(row.label.isdecimal() and row.label.isascii() for row in rows):
        return Layout(tuple(sorted({row.label for row in rows})), rows)
    classes = numbered_classes(root, {whole(row.where, "label", row.label) for row in rows})
    return Layout(classes, [row._replace(label=classes[int(row.label)]) for row in rows])


def _rows(path: Path, split: str) -> Iterator[Row]:
    for where, line in lines(path):
        match = re.fullmatch(r"(?P<path>.+?)\s*[,\s]\s*(?P<label>[^\s,]+)", line)
        if not match:
            raise DataError(f"{where}: {line[:100]!r} is not a path and a label")
        yield Row(where, match["path"], match["label"], split)
