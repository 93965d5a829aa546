"""Where data sets come from: the embedded one, a folder with a sub-folder a class, a CSV file."""

import csv
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import msgspec

from autovid.data.bad_videos import most_broken
from autovid.data.file_lookup import EXTENSIONS, inside, leaves, record_of, videos_below
from autovid.data.index import Video, VideoSet, hold_out
from autovid.data.index_metadata import read_about
from autovid.data.synthetic import synthetic_folder
from autovid.errors import DataError

COLUMNS = ("path", "label", "start", "end", "split")
MAX_CLASSES = 100_000


def open_videos(
    source: str | Path, *, seed: int = 0, holdout: float = 0.2, cache: Path | None = None, missing_ok: bool = False
) -> VideoSet:
    """The data set "synthetic" (the embedded one, kept in `cache`), or the one in a folder or a CSV file.

    Folder: a sub-folder a class, or `train/` and `val/` with these inside. CSV: path, label, and where wanted start and
    end (seconds) and split (train or val), with a header, or in this order; paths are relative to the file's folder,
    labels are names, or integers from 0; a file about it (`About`) may give the order of the classes. Nothing may lie
    outside the folder, by a link neither. A folder of numbered JPEG frames is a video too; its start and end are the
    numbers of the first frame and of the one after the last. So is, in a CSV, an image: a JPEG file, or `FILE.bin#N`,
    a record of CIFAR-100.
    A source without splits has a random share `holdout` of every class put aside as val. A CSV with many videos that do
    not exist is refused unless `missing_ok`.
    Raises DataError, with the row where there is one.
    """
    if not 0 <= holdout < 1:
        raise DataError(f"holdout {holdout}: must be at least 0 and less than 1")
    try:
        return _open(source, seed, holdout, cache, missing_ok)
    except OSError as error:
        raise DataError(f"{error.filename or source} cannot be read: {error.strerror or error}") from error


def _open(source: str | Path, seed: int, holdout: float, cache: Path | None, missing_ok: bool) -> VideoSet:
    path = Path(source)
    if str(source) == "synthetic":
        found = _from_folder(synthetic_folder(cache), seed, holdout)
        return msgspec.structs.replace(found, name="synthetic", flip=False)
    if path.is_dir():
        return _from_folder(path, seed, holdout)
    if path.is_file():
        return _from_csv(path, seed, holdout, missing_ok)
    raise DataError(f"{source}: no such folder or CSV file; give one, or 'synthetic' for the embedded videos")


def _from_folder(root: Path, seed: int, holdout: float) -> VideoSet:
    split = (root / "train").is_dir() and (root / "val").is_dir()
    tops = [root / "train", root / "val"] if split else [root]
    found = [_by_class(root, top) for top in tops]
    if not found[0]:
        raise DataError(
            f"{tops[0]}: no videos; expected a sub-folder for each class with files {', '.join(EXTENSIONS)} "
            "or folders of JPEG frames"
        )
    classes = tuple(sorted({name for part in found for name in part}))
    parts = [tuple(Video(path, classes.index(name)) for name in sorted(part) for path in part[name]) for part in found]
    train, val = parts if split else hold_out(parts[0], holdout, seed)
    return VideoSet(root.resolve().name, root, classes, train, val)


def _by_class(root: Path, top: Path) -> dict[str, list[str]]:
    """The videos, relative to root, of each sub-folder of top that has any, at whatever depth."""
    found: dict[str, list[str]] = {}
    for entry in os.scandir(top):
        if entry.is_dir() and not entry.name.startswith(".") and (videos := _videos(root, Path(entry.path))):
            found[entry.name] = videos
    return found


def _videos(root: Path, top: Path) -> list[str]:
    found = []
    for path in videos_below(top):
        if not inside(root, path):
            raise DataError(f"{path}: a link that leaves {root}; put the video itself into the folder")
        found.append(path.relative_to(root).as_posix())
    return sorted(found)


class CsvRow(NamedTuple):
    """A row of a CSV file, checked; `where` is for errors."""

    where: str
    path: str
    label: str
    start: float | None
    end: float | None
    split: str


def _from_csv(path: Path, seed: int, holdout: float, missing_ok: bool) -> VideoSet:
    about = read_about(path)
    root = Path(about.root) if about and about.root else path.parent
    rows = list(csv_rows(path, root))
    if not rows:
        raise DataError(f"{path}: no videos; expected rows of path,label[,start,end[,split]]")
    if not missing_ok:
        _check_present(path, root, rows)
    classes, labels = csv_labels(rows, about.classes if about else None)
    videos = [Video(row.path, label, row.start, row.end) for row, label in zip(rows, labels)]
    if any(row.split for row in rows):
        train, val = (tuple(v for v, row in zip(videos, rows) if row.split == split) for split in ("train", "val"))
    else:
        train, val = hold_out(videos, holdout, seed)
    if not train:
        raise DataError(f"{path}: no row has the split 'train'")
    return VideoSet(path.stem, root, classes, train, val, about.flip if about else True)


def csv_labels(rows: Sequence[CsvRow], known: tuple[str, ...] | None) -> tuple[tuple[str, ...], list[int]]:
    """The classes, and each row's."""
    numbers = known is None and all(row.label.isdecimal() and row.label.isascii() for row in rows)
    classes = known or (_numbered(rows) if numbers else tuple(sorted({row.label for row in rows})))
    label_of = {name: label for label, name in enumerate(classes)}
    for row in rows:
        if not numbers and row.label not in label_of:
            raise DataError(f"{row.where}: label {row.label!r} is none of the {len(classes)} classes of the index")
    return classes, [label_of[str(int(row.label)) if numbers else row.label] for row in rows]


def csv_rows(path: Path, root: Path) -> Iterator[CsvRow]:
    """The rows of a CSV index whose paths are relative to `root`. Raises DataError, with the row's number."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            columns: Sequence[str] | None = None
            for cells in reader:
                where = f"{path}, row {reader.line_num}"
                if not cells:
                    continue
                if columns is None and _is_header(root, names := [cell.strip().lower() for cell in cells]):
                    columns = _header(where, names)
                    continue
                columns = columns or COLUMNS[: len(cells)]
                yield _row(where, root, columns, cells)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not a CSV file that can be read: {error}") from error


def _is_header(root: Path, names: Sequence[str]) -> bool:
    """Also one with other names, which would pass for a video of the class "label"."""
    return names[0] == "path" or (not {"label", "class"}.isdisjoint(names) and not os.path.lexists(root / names[0]))


def _header(where: str, names: list[str]) -> list[str]:
    unknown = [name for name in names if name not in COLUMNS]
    if unknown or len(set(names)) < len(names) or not {"path", "label"} <= set(names):
        raise DataError(f"{where}: columns {','.join(names)}; known are {','.join(COLUMNS)}, needed are path,label")
    return names


def _row(where: str, root: Path, columns: Sequence[str], cells: list[str]) -> CsvRow:
    if len(cells) != len(columns) or len(cells) < 2:
        raise DataError(f"{where}: {len(cells)} columns where {max(2, len(columns))} are expected")
    values = dict(zip(columns, (cell.strip() for cell in cells)))
    start, end = (_seconds(where, name, values.get(name, "")) for name in ("start", "end"))
    if end is not None and end <= (start or 0):
        raise DataError(f"{where}: end {end:g} s is not after start {start or 0:g} s")
    if "split" in columns and values["split"] not in ("train", "val"):
        raise DataError(f"{where}: split {values['split']!r}: must be train or val")
    if not values["path"] or not values["label"]:
        raise DataError(f"{where}: an empty path or label")
    if leaves(root, values["path"]):
        raise DataError(f"{where}: {values['path']!r} leaves the folder of the CSV file; paths must stay inside {root}")
    return CsvRow(where, str(PurePosixPath(values["path"])), values["label"], start, end, values.get("split", ""))


def _seconds(where: str, name: str, text: str) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (0 <= value < math.inf):
        raise DataError(f"{where}: {name} {text!r} is not a time in seconds")
    return value


def _numbered(rows: Sequence[CsvRow]) -> tuple[str, ...]:
    """Integer labels stand for themselves, also where some in between have no video."""
    last = max(rows, key=lambda row: int(row.label))
    if int(last.label) >= MAX_CLASSES:
        raise DataError(f"{last.where}: label {last.label}: integer labels must be below {MAX_CLASSES:,}")
    return tuple(str(i) for i in range(int(last.label) + 1))


def _check_present(path: Path, root: Path, rows: Sequence[CsvRow]) -> None:
    """A few missing videos count as broken when their turn comes; many mean a wrong folder, better said at once."""
    missing = [row for row in rows if not os.path.lexists(root / record_of(row.path)[0])]
    if len(missing) > most_broken(len(rows)):
        raise DataError(
            f"{path}: {len(missing)} of {len(rows)} videos do not exist, first {root / missing[0].path} "
            f"({missing[0].where.rpartition(', ')[2]}); paths are relative to the CSV file's folder"
        )
