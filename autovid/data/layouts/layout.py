"""What a reader of a layout returns, and how lists are read: any line ending, UTF-8, each row with its place."""

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

from autovid.data.file_lookup import SPLITS
from autovid.data.index import Video
from autovid.errors import DataError


class Row(NamedTuple):
    """A video as a list names it: `where` is "FILE, row N", `path` the last parts of its path.

    `split` is train or val, or empty where the data set has none.
    """

    where: str
    path: str
    label: str
    split: str
    start: float | None = None
    end: float | None = None


Choice: TypeAlias = Callable[[list[tuple[str, Video]], tuple[str, ...], int], list[tuple[str, Video]]]


class Layout(NamedTuple):
    """What a data set's lists say: its classes in the official order, and its rows.

    `flip`: whether a mirrored video keeps its class. `choose(found, classes, seed)` takes some of the (split, video)
    that exist; labels keep their numbers, and classes without a video are dropped from the index afterwards.
    `exact`: the rows are what the reader has found in the folder, by their very paths.
    """

    classes: tuple[str, ...]
    rows: Iterable[Row]
    flip: bool = True
    choose: Choice | None = None
    exact: bool = False


Reader: TypeAlias = Callable[[Path, int], Layout]  # the folder, and which of the official folds


def lines(path: Path) -> Iterator[tuple[str, str]]:
    """("FILE, row N", stripped line) of a text file; empty lines are passed over."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a UTF-8 text file that can be read: {error}") from error
    for number, line in enumerate(text.split("\n"), 1):
        if line := line.strip():
            yield f"{path}, row {number}", line


def cells(path: Path) -> Iterator[tuple[str, list[str]]]:
    """("FILE, row N", stripped cells) of a CSV file."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            for row in reader:
                if row:
                    yield f"{path}, row {reader.line_num}", [cell.strip() for cell in row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not a CSV file that can be read: {error}") from error


def records(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """("FILE, row N", cells by column) of a CSV file with a header that has at least these columns."""
    rows = cells(path)
    where, header = next(rows, (f"{path}, row 1", [""]))
    if missing := [column for column in columns if column not in header]:
        raise DataError(f"{where}: no column {', '.join(missing)}; there are {', '.join(header)}")
    for where, row in rows:
        if len(row) != len(header):
            raise DataError(f"{where}: {len(row)} columns where {len(header)} are expected")
        yield where, dict(zip(header, row))


def whole(where: str, what: str, text: str) -> int:
    """A whole number that is not negative."""
    try:
        value = float(text)
        if value >= 0 and value == int(value):
            return int(value)
    except (ValueError, OverflowError):
        pass
    raise DataError(f"{where}: {what} {text!r} is not a whole number from 0")


def files(root: Path, pattern: str) -> list[Path]:
    """Files of this name (a glob) in the folder and in the folders right below it."""
    found = [path for path in [*root.glob(pattern), *root.glob(f"*/{pattern}")] if path.is_file()]
    return sorted(path for path in found if not path.name.startswith(".") and not path.parent.name.startswith("."))


def one_file(root: Path, *patterns: str) -> Path:
    """The file of the first of these names that there is. Raises DataError where there is none, or more than one."""
    for pattern in patterns:
        found = files(root, pattern)
        if len(found) > 1:
            raise DataError(f"{found[0]} and {found[1]}: two lists of the same; leave one in {root}")
        if found:
            return found[0]
    raise DataError(f"{root}: no {patterns[0]} here or in a folder right below; it comes with the data set")


def split_of(path: Path) -> str | None:
    """Whether a list's name says that it is one of training or of validation."""
    words = set(re.split(r"[^a-z]+", path.stem.lower()))
    return next((split for split, names in SPLITS.items() if words & names - {"test", "testing"}), None)


def ordered(where: Path, numbers: dict[str, int]) -> tuple[str, ...]:
    """Class names in the order of their numbers, which must be 0, 1, 2, ... Raises DataError."""
    if sorted(numbers.values()) != list(range(len(numbers))) or not numbers:
        raise DataError(f"{where}: the classes' numbers must be 0, 1, 2, ... without a gap")
    return tuple(sorted(numbers, key=lambda name: numbers[name]))
