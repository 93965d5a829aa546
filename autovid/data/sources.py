"""Sources of data sets: the embedded one, a folder with a sub-folder a class, a CSV file, a packed set."""

import math
import os
from collections.abc import Container, Iterator, Sequence
from operator import itemgetter
from pathlib import Path, PurePosixPath, PureWindowsPath

import msgspec

from autovid.data.bad_videos import most_broken
from autovid.data.file_lookup import EXTENSIONS, inside, leaves, record_of, split_named, videos_below
from autovid.data.index import MARK, SPLITS, Video, VideoSet, hold_out, read_metadata
from autovid.data.layouts import ListedVideo
from autovid.data.lists import cells, check_comma
from autovid.data.remote import is_address, public
from autovid.data.shards import is_packed, open_shards
from autovid.data.synthetic import synthetic_folder
from autovid.errors import DataError, foreign, not_utf8

COLUMNS = ("path", "label", "start", "end", "split")
MAX_CLASSES = 100_000


def open_videos(
    source: str | Path, *, seed: int = 0, holdout: float = 0.2, cache: Path | None = None, missing_ok: bool = False
) -> VideoSet:
    """Open the data set "synthetic" (the embedded one, kept in `cache`), or one in a folder, a CSV file or shards.

    Folder: a sub-folder a class, or `train/`, and `val/` and `test/` if there are, with these inside. CSV: path, label,
    and optionally start and end (seconds) and split (train, val or test), with a header, or in this order; paths are
    relative to the file's folder, labels are names, or integers from 0, several of a video with `;` between;
    `IndexMetadata` may give the order of the classes. Nothing may lie outside the folder, by a link neither. A folder
    of numbered JPEG frames is a video too; its start and end are the numbers of the first frame and of the one after
    the last. So is, in a CSV, an image: a JPEG file, or `FILE.bin#N`, a record of CIFAR-100.
    Shards: a folder that `autovid data pack` wrote, or the address of one (`https://`, `s3://`, ...).
    Where there is no val, a random fraction `holdout` of every class to train on becomes it, all parts of a file
    together. A CSV with many missing videos is refused unless `missing_ok`. Raises DataError, with the row
    where there is one.
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
        videos = _from_folder(synthetic_folder(cache), seed, holdout)
        return msgspec.structs.replace(videos, name="synthetic", flip=False)
    if is_address(source) or (path.is_dir() and is_packed(path)):
        return _from_shards(str(source), seed, holdout)
    if path.is_dir():
        return _from_folder(path, seed, holdout)
    if path.is_file() and path.suffix.lower() in EXTENSIONS:
        raise DataError(f"{source}: a video, not a list; give its folder, with a sub-folder for each class in it")
    if path.is_file():
        return _from_csv(path, seed, holdout, missing_ok)
    raise DataError(f"{source}: no such folder or CSV file; give one, or 'synthetic' for the embedded videos")


def recorded_source(source: str | Path) -> str:
    """Return the name under which any later process opens the videos again; of an address nothing that is secret."""
    if str(source) == "synthetic":
        return str(source)
    return public(str(source)) if is_address(source) else str(Path(source).resolve())


def _from_shards(place: str, seed: int, holdout: float) -> VideoSet:
    index, root = open_shards(place)
    train, val, test = (
        tuple(Video(index.files[row[0]].path, row[1][0], row[2], row[3], row[1][1:]) for row in rows)
        for rows in (index.train, index.val, index.test)
    )
    return _with_val(VideoSet(index.name, root, index.classes, train, val, index.flip, test), seed, holdout)


def _from_folder(root: Path, seed: int, holdout: float) -> VideoSet:
    tops = _split_folders(root) or {"train": root}
    by_class = {split: _by_class(root, top) for split, top in tops.items()}
    if not by_class["train"]:
        raise DataError(
            f"{tops['train']}: no videos; expected a sub-folder for each class with files {', '.join(EXTENSIONS)} "
            "or folders of JPEG frames"
        )
    classes = tuple(sorted({name for part in by_class.values() for name in part}))
    if len(classes) == 1:
        _check_height(root, tops["train"] / classes[0])
    parts = {
        split: tuple(Video(path, classes.index(name)) for name in sorted(part) for path in part[name])
        for split, part in by_class.items()
    }
    videos = VideoSet(
        root.resolve().name, root, classes, parts["train"], parts.get("val", ()), test=parts.get("test", ())
    )
    return _with_val(videos, seed, holdout)


def _split_folders(root: Path) -> dict[str, Path]:
    """Return the folder of each split; none where the sub-folders are those of classes.

    One class may be called train, say, if its videos lie in its folder itself. Raises DataError where it is not clear
    which of the two they are, or there is no train.
    """
    folders = sorted(Path(one.path) for one in os.scandir(root) if one.is_dir() and not one.name.startswith("."))
    named = {folder: split for folder in folders if (split := split_named(folder.name))}
    if not named:
        return {}
    held = [folder for folder in named if any(True for _ in videos_below(folder))]
    splits = {named[folder]: folder for folder in (*named, *held)}
    others = [folder for folder in folders if folder not in named and any(True for _ in videos_below(folder))]
    text = f"{root}: {' and '.join(f'{folder.name}/' for folder in held or named)}: named like splits"
    if others and not {"train", "val"} <= splits.keys():
        if len(held) < 2 and all(any(path.parent == folder for path in videos_below(folder)) for folder in held):
            return {}
        raise DataError(
            f"{text}, beside {others[0].name}/, which is not; put each class into the folders of the splits, or, if "
            "all are classes, list the videos in a CSV file"
        )
    if "train" not in splits:
        raise DataError(f"{text}, but there is no train/ to learn from")
    if len(held) > len({named[folder] for folder in held}):
        raise DataError(f"{text}, two of them for one split; put their videos together")
    return splits


def _check_height(root: Path, folder: Path) -> None:
    """Raise DataError where the sub-folders of the only class hold its videos: they will be the classes."""
    homes = {path.relative_to(folder).parts[0] for path in videos_below(folder) if path.parent != folder}
    if len(homes) > 1 and not any(path.parent == folder for path in videos_below(folder)):
        raise DataError(
            f"{root}: {folder.name} would be its only class, and the videos lie in {len(homes)} sub-folders of it; is "
            f"it one folder too high? Give {folder}"
        )


def _with_val(videos: VideoSet, seed: int, holdout: float) -> VideoSet:
    """Hold out some of every class as val where the source has none. Raises DataError where splits are the classes."""
    if len(videos.classes) > 1 and all(map(split_named, videos.classes)):
        raise DataError(
            f"{videos.name}: its classes are {', '.join(videos.classes)}, which are names of splits; give each video "
            "the class that it shows"
        )
    if videos.val or not holdout:
        return videos
    train, val = hold_out(videos.train, holdout, seed, least=True)
    return msgspec.structs.replace(videos, train=train, val=val, held_out=bool(val))


def _by_class(root: Path, top: Path) -> dict[str, list[str]]:
    """Return the videos, relative to root, of each sub-folder of top that has any, at whatever depth."""
    by_class: dict[str, list[str]] = {}
    for entry in os.scandir(top):
        if entry.is_dir() and not entry.name.startswith("."):
            for path in videos_below(Path(entry.path)):
                if not inside(root, path):
                    raise DataError(f"{path}: a link that leaves {root}; put the video itself into the folder")
                if foreign(str(path.relative_to(root))):
                    raise not_utf8(path)
                by_class.setdefault(entry.name, []).append(path.relative_to(root).as_posix())
    return {name: sorted(paths) for name, paths in by_class.items()}


def _from_csv(path: Path, seed: int, holdout: float, missing_ok: bool) -> VideoSet:
    metadata = read_metadata(path)
    root = Path(metadata.root) if metadata and metadata.root else path.parent
    rows = list(csv_rows(path, root))
    if not rows:
        raise DataError(f"{path}: no videos; expected rows of path,label[,start,end[,split]]")
    if not missing_ok:
        _check_present(path, root, rows)
    classes, labels = csv_labels(rows, metadata.classes if metadata else None)
    videos = [Video(row.path, own[0], row.start, row.end, own[1:]) for row, own in zip(rows, labels)]
    train, val, test = (tuple(v for v, row in zip(videos, rows) if (row.split or "train") == split) for split in SPLITS)
    if not train:
        raise DataError(f"{path}: no row has the split 'train'")
    flip = metadata.flip if metadata else True
    return _with_val(VideoSet(path.stem, root, classes, train, val, flip, test), seed, holdout)


def csv_labels(
    rows: Sequence[ListedVideo], known: tuple[str, ...] | None
) -> tuple[tuple[str, ...], list[tuple[int, ...]]]:
    """Return the classes, and the labels of each row: one, or several that `;` separates."""
    names = [label_names(row, known or ()) for row in rows]
    numbers = known is None and all(name.isdecimal() and name.isascii() for own in names for name in own)
    classes = known or (_numbered(rows, names) if numbers else tuple(sorted({name for own in names for name in own})))
    label_of = {name: label for label, name in enumerate(classes)}
    for row, own in zip(rows, names):
        for name in own:
            if not numbers and name not in label_of:
                raise DataError(f"{row.where}: label {name!r} is none of the {len(classes)} classes of the index")
    return classes, [tuple(dict.fromkeys(label_of[str(int(n)) if numbers else n] for n in own)) for own in names]


def label_names(row: ListedVideo, known: Container[str]) -> list[str]:
    """Return the names in a label. A known class may have the mark in its name."""
    if row.label in known:
        return [row.label]
    names = [name.strip() for name in row.label.split(MARK)]
    if not all(names):
        raise DataError(f"{row.where}: label {row.label!r}: a class is missing before or after a {MARK}")
    return names


def csv_rows(path: Path, root: Path) -> Iterator[ListedVideo]:
    """Read the rows of a CSV index whose paths are relative to `root`. Raises DataError, with the row's number."""
    columns: Sequence[str] | None = None
    for where, row in cells(path):
        check_comma(where, row)
        if columns is None and _is_header(root, names := [cell.lower() for cell in row]):
            columns = _header(where, names)
            continue
        columns = columns or COLUMNS[: len(row)]
        yield _row(where, root, columns, row)


def _is_header(root: Path, names: Sequence[str]) -> bool:
    """Return True for a header, also one with other names, which would pass for a video of the class "label"."""
    return names[0] == "path" or (not {"label", "class"}.isdisjoint(names) and not os.path.lexists(root / names[0]))


def _header(where: str, names: list[str]) -> list[str]:
    unknown = [name for name in names if name not in COLUMNS]
    if unknown or len(set(names)) < len(names) or not {"path", "label"} <= set(names):
        raise DataError(f"{where}: columns {','.join(names)}; known are {','.join(COLUMNS)}, needed are path,label")
    return names


def _row(where: str, root: Path, columns: Sequence[str], row: list[str]) -> ListedVideo:
    if len(row) != len(columns) or len(row) < 2:
        raise DataError(f"{where}: {len(row)} columns where {max(2, len(columns))} are expected")
    values = dict(zip(columns, row))
    start, end = (_seconds(where, name, values.get(name, "")) for name in ("start", "end"))
    if end is not None and end <= (start or 0):
        raise DataError(f"{where}: end {end:g} s is not after start {start or 0:g} s")
    if "split" in columns and values["split"] not in SPLITS:
        raise DataError(f"{where}: split {values['split']!r}: must be train, val or test")
    if not values["path"] or not values["label"]:
        raise DataError(f"{where}: an empty path or label")
    _check_place(where, root, values["path"])
    return ListedVideo(where, str(PurePosixPath(values["path"])), values["label"], values.get("split", ""), start, end)


def _check_place(where: str, root: Path, listed: str) -> None:
    """Raise DataError for a path that leaves the root, or is one of Windows."""
    path, remedy = PureWindowsPath(listed), f"paths must stay inside {root.resolve()}"
    windows = ("\\" in listed or path.drive) and not os.path.lexists(root / listed)  # elsewhere names may have both
    if not windows and not leaves(root, listed):
        return
    if windows or path.anchor:
        ends = ("/".join(path.parts[first:]) for first in range(len(path.parts)))
        found = next((end for end in ends if not leaves(root, end) and os.path.lexists(root / end)), "")
        change = "make it relative" if path.anchor else "write it with /"
        remedy = f"{change}: {found}" if found else f"{change}, {remedy}"
    why = "has backslashes" if "\\" in listed else "is a path of Windows"
    why = why if windows else "leaves the folder of the CSV file"
    raise DataError(f"{where}: '{listed}' {why}; {remedy}")


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


def _numbered(rows: Sequence[ListedVideo], names: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Return the classes of integer labels, those without a video included."""
    most, where = max(((int(name), row.where) for row, own in zip(rows, names) for name in own), key=itemgetter(0))
    if most >= MAX_CLASSES:
        raise DataError(f"{where}: label {most}: integer labels must be below {MAX_CLASSES:,}")
    return tuple(str(i) for i in range(most + 1))


def _check_present(path: Path, root: Path, rows: Sequence[ListedVideo]) -> None:
    """Raise DataError where many videos are missing, as in a wrong folder; a few count as broken when they are read."""
    missing = [row for row in rows if not os.path.lexists(root / record_of(row.path)[0])]
    if len(missing) > most_broken(len(rows)):
        raise DataError(
            f"{path}: {len(missing)} of {len(rows)} videos do not exist, first {root / missing[0].path} "
            f"({missing[0].where.rpartition(', ')[2]}); paths are relative to {root.resolve()}"
        )
