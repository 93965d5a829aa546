"""Something-Something V1 and V2. A mirrored video is of another class where the label says left or right.

V1: folders of JPEG frames called by their number, `id;label` lists, a file of the 174 labels.

V2: `ID.webm`, JSON lists of training and validation, a JSON object of the 174 labels. The first edition calls the lists
something-something-v2-train.json and so on, the later one train.json. An entry's class is its template without the
brackets.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from autovid.data.layouts import Layout, ListedVideo, one_file, ordered
from autovid.data.lists import lines, whole_number
from autovid.errors import DataError

SPLITS = {"train": "train", "val": "validation"}


def read_v1(root: Path, fold: int) -> Layout:
    """Read the labels in the order of their file, and both lists."""
    classes = tuple(name for _, name in lines(one_file(root, "something-something-v1-labels.csv")))
    known = set(classes)
    return Layout(classes, [row for split in SPLITS for row in _v1_rows(root, split, known)], flip=False)


def read_v2(root: Path, fold: int) -> Layout:
    """Read the labels in the order of their numbers, and both lists."""
    path = one_file(root, "something-something-v2-labels.json", "labels.json")
    labels = _load(path, dict[str, str])
    numbers = {name: whole_number(str(path), "label", number) for name, number in labels.items()}
    classes = ordered(path, numbers)
    return Layout(classes, [row for split in SPLITS for row in _v2_rows(root, split, numbers)], flip=False)


class _Template(msgspec.Struct):
    id: str
    template: str


def _v1_rows(root: Path, split: str, classes: set[str]) -> Iterator[ListedVideo]:
    for where, line in lines(one_file(root, f"something-something-v1-{SPLITS[split]}.csv")):
        name, _, label = line.partition(";")
        if label not in classes:
            raise DataError(f"{where}: label {label!r} is not in something-something-v1-labels.csv")
        yield ListedVideo(where, name, label, split)


def _v2_rows(root: Path, split: str, classes: dict[str, int]) -> Iterator[ListedVideo]:
    path = one_file(root, f"something-something-v2-{SPLITS[split]}.json", f"{SPLITS[split]}.json")
    for number, raw in enumerate(_load(path, list[msgspec.Raw]), 1):
        where = f"{path}, entry {number}"
        try:
            entry = msgspec.json.decode(raw, type=_Template)
        except msgspec.MsgspecError as error:
            raise DataError(f"{where}: {error}") from error
        label = entry.template.replace("[", "").replace("]", "").strip()
        if label not in classes:
            raise DataError(f"{where}: template {entry.template!r} is none of the labels")
        yield ListedVideo(where, f"{entry.id.strip()}.webm", label, split)


def _load(path: Path, kind: Any) -> Any:
    try:
        return msgspec.json.decode(path.read_bytes().removeprefix(b"\xef\xbb\xbf"), type=kind)
    except (OSError, UnicodeDecodeError, msgspec.MsgspecError) as error:
        raise DataError(f"{path}: {error}") from error
