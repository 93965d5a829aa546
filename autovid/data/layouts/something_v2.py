"""Something-Something V2: `ID.webm`, JSON lists of training and validation, a JSON object of the 174 labels.

The first edition calls the lists something-something-v2-train.json and so on, the later one train.json. An entry's
class is its template without the brackets.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from autovid.data.layouts.layout import Layout, Row, one_file, ordered, whole
from autovid.errors import DataError

SPLITS = {"train": "train", "val": "validation"}


class _Entry(msgspec.Struct):
    id: str
    template: str


def read(root: Path, fold: int) -> Layout:
    """Labels in the order of their numbers. A mirrored video is of another class where it says left or right."""
    path = one_file(root, "something-something-v2-labels.json", "labels.json")
    numbers = {name: whole(str(path), "label", number) for name, number in _load(path, dict[str, str]).items()}
    classes = ordered(path, numbers)
    return Layout(classes, [row for split in SPLITS for row in _rows(root, split, numbers)], flip=False)


def _rows(root: Path, split: str, classes: dict[str, int]) -> Iterator[Row]:
    path = one_file(root, f"something-something-v2-{SPLITS[split]}.json", f"{SPLITS[split]}.json")
    for number, raw in enumerate(_load(path, list[msgspec.Raw]), 1):
        where = f"{path}, entry {number}"
        try:
            entry = msgspec.json.decode(raw, type=_Entry)
        except msgspec.MsgspecError as error:
            raise DataError(f"{where}: {error}") from error
        label = entry.template.replace("[", "").replace("]", "").strip()
        if label not in classes:
            raise DataError(f"{where}: template {entry.template!r} is none of the labels")
        yield Row(where, f"{entry.id.strip()}.webm", label, split)


def _load(path: Path, kind: Any) -> Any:
    try:
        return msgspec.json.decode(path.read_bytes().removeprefix(b"\xef\xbb\xbf"), type=kind)
    except (OSError, UnicodeDecodeError, msgspec.MsgspecError) as error:
        raise DataError(f"{path}: {error}") from error
