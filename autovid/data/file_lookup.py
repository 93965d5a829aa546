"""Videos and folders of frames below a data set's root, and nothing outside."""

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

EXTENSIONS = (".3gp", ".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm")
FRAME = re.compile(r"(?P<prefix>.*?)(?P<number>\d{1,9})(?P<suffix>\.jpe?g)", re.IGNORECASE)
RECORD = re.compile(r"(?P<file>.+\.bin)#(?P<number>\d{1,9})")
SPLIT_NAMES = {
    "train": {"train", "training"},
    "val": {"val", "valid", "validate", "validation"},
    "test": {"test", "testing"},
}
# Of a data set that is published with two splits: some call the second one test.
SPLITS = {"train": SPLIT_NAMES["train"], "val": SPLIT_NAMES["val"] | SPLIT_NAMES["test"]}


class FileLookup:
    """All videos below a root, looked up by their names in a list."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._by_stem: dict[str, list[PurePosixPath]] = defaultdict(list)
        for path in videos_below(root):
            relative = PurePosixPath(path.relative_to(root).as_posix())
            self._by_stem[_parts(relative)[-1]].append(relative)

    def find(self, listed: str, split: str) -> str | None:
        """Return the video of this name: its path or the last parts of it, with any extension, or a folder of frames.

        Where there are several, the very path comes first, then one in a folder of the split, then the very extension.
        """
        name = PurePosixPath(listed)
        parts = _parts(name)
        fitting = [path for path in self._by_stem.get(parts[-1], ()) if _parts(path)[-len(parts) :] == parts]
        words = SPLITS.get(split, set())

        def order(path: PurePosixPath) -> tuple[Any, ...]:
            in_split = any(words & set(re.split(r"[^a-z]+", part.lower())) for part in path.parts[:-1])
            return path != name, not in_split, path.suffix != name.suffix, path

        return str(min(fitting, key=order)) if fitting else None


def videos_below(top: Path) -> Iterator[Path]:
    """Yield every video file and every folder of numbered JPEG frames below `top`, which is itself no folder of frames.

    A folder that holds videos is not one of frames (its pictures are previews). Names that begin with a dot are passed
    over; links to folders are not followed, links to files are found.
    """
    folders, videos, _ = _scan(top)
    yield from videos
    for folder in folders:
        yield from _below(folder)


def split_named(name: str) -> str | None:
    """Return the split that a folder is called after, in any case."""
    return next((split for split, names in SPLIT_NAMES.items() if name.lower() in names), None)


def other_files(top: Path) -> Iterator[Path]:
    """Yield the files in the folders below `top` that are neither videos nor frames by their names, in order.

    Names that begin with a dot are passed over.
    """
    for folder, folders, files in os.walk(top):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files) if Path(folder) != top else ():
            known = os.path.splitext(name)[1].lower() in EXTENSIONS or FRAME.fullmatch(name)
            if not known and not name.startswith("."):
                yield Path(folder, name)


def _below(folder: Path) -> Iterator[Path]:
    folders, videos, frames = _scan(folder)
    if frames and not videos:
        yield folder
        return
    yield from videos
    for child in folders:
        yield from _below(child)


def _scan(folder: Path) -> tuple[list[Path], list[Path], bool]:
    """Return sub-folders and videos, sorted, and True if there are frames."""
    folders, videos, frames = [], [], False
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.append(Path(entry.path))
            elif os.path.splitext(entry.name)[1].lower() in EXTENSIONS and not entry.is_dir():
                videos.append(Path(entry.path))
            elif not frames:
                frames = FRAME.fullmatch(entry.name) is not None
    return sorted(folders), sorted(videos), frames


def _parts(path: PurePosixPath) -> tuple[str, ...]:
    """Return the parts of a path without extension; in composed form, since some systems store them decomposed."""
    bare = path.with_suffix("") if path.suffix.lower() in EXTENSIONS else path
    return tuple(unicodedata.normalize("NFC", part) for part in bare.parts)


def record_of(path: str) -> tuple[str, int | None]:
    """Split `FILE.bin#NUMBER` into the file and the number of the record; None for a path without a record."""
    match = RECORD.fullmatch(path)
    return (match["file"], int(match["number"])) if match else (path, None)


def leaves(root: Path, listed: str) -> bool:
    """Return True unless a path of a list stays inside the root, also when links are followed."""
    path = PurePosixPath(record_of(listed)[0])
    return not path.parts or path.is_absolute() or ".." in path.parts or "\0" in listed or not inside(root, root / path)


def inside(root: Path, path: Path) -> bool:
    """Return True if a path stays within root when links are followed."""
    real = _real_folder(path.parent.absolute()) / path.name
    return (real.resolve() if real.is_symlink() else real).is_relative_to(_real_folder(root.absolute()))


@lru_cache(maxsize=100_000)
def _real_folder(folder: Path) -> Path:
    return folder.resolve()
