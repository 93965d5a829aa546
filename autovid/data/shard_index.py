"""The index of a packed data set: which videos it has, and where in its tar files each of them lies.

It comes from wherever the shards come from, so nothing in it is believed: a place outside a shard, a name that leads
out of the set and a number that means nothing are each refused in one line.
"""

import hashlib
import re
from pathlib import Path, PurePosixPath
from typing import Literal, TypeAlias

import msgspec

from autovid.data.remote import is_address, public, read_whole
from autovid.errors import DataError

INDEX = "autovid-shards.json"
FORMAT: Literal["autovid shards 1"] = "autovid shards 1"
MOST = 1 << 30  # bytes of an index
HEADER = 512  # bytes before the content of each member of a tar file
SHARD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\.tar")

Row: TypeAlias = tuple[int, tuple[int, ...], float | None, float | None]


class Shard(msgspec.Struct, frozen=True, array_like=True):
    """A tar file: name, bytes, and their SHA-256 in hexadecimal digits."""

    name: str
    size: int
    sha256: str


class Extent(msgspec.Struct, frozen=True, array_like=True):
    """The place of a file or a folder of frames: `size` bytes of a shard from `offset` on, headers among them."""

    path: str
    shard: int
    offset: int
    size: int
    frames: bool = False


class ShardIndex(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Content of the index. A row: the number of its file in `files`, its labels, and start and end or null.

    `source` is the digest of what was packed, from where, and when it was changed last.
    """

    format: Literal["autovid shards 1"]
    name: str
    source: str
    classes: tuple[str, ...]
    flip: bool
    shards: tuple[Shard, ...]
    files: tuple[Extent, ...]
    train: tuple[Row, ...]
    val: tuple[Row, ...]
    test: tuple[Row, ...]


def read_index(place: str) -> tuple[ShardIndex, str]:
    """Read the index in a folder or at an address; return it and its SHA-256. Raises DataError."""
    try:
        where = f"{public(place)}/{INDEX}" if is_address(place) else f"{place}/{INDEX}"
    except ValueError:
        raise DataError("the address has a host that makes no sense; it is PROTOCOL://HOST/FOLDER") from None
    data = read_whole(place, INDEX, MOST) if is_address(place) else _read(Path(place) / INDEX)
    try:
        index = msgspec.json.decode(data, type=ShardIndex)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise DataError(f"{where}: no index that `autovid data pack` wrote: {error}") from error
    if problem := _problem(index):
        raise DataError(f"{where}: {problem}; pack the videos again")
    return index, hashlib.sha256(data).hexdigest()


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MOST + 1)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    if len(data) > MOST:
        raise DataError(f"{path}: more than the {MOST:,} bytes that an index may have")
    return data


def _problem(index: ShardIndex) -> str:
    """Say what is wrong with an index; nothing where it is sound."""
    if not is_name(index.name):
        return f"the name {index.name!r} is no name of a file"
    if len(set(index.classes)) < len(index.classes):
        return "a class is named twice"
    names = [shard.name for shard in index.shards]
    if bad := next((name for name in names if not SHARD.fullmatch(name)), None):
        return f"the shard {bad!r} is not a tar file beside the index"
    if len(set(names)) < len(names):
        return "a shard is named twice"
    if len({file.path for file in index.files}) < len(index.files):
        return "a video is listed twice"
    return next(filter(None, (_misplaced(file, index) for file in index.files)), "") or next(
        filter(None, (_odd(row, index) for row in (*index.train, *index.val, *index.test))), ""
    )


def _misplaced(file: Extent, index: ShardIndex) -> str:
    path = PurePosixPath(file.path)
    if (
        path.is_absolute()
        or ".." in path.parts
        or str(path) != file.path
        or not is_name(path.name)
        or "\0" in file.path
    ):
        return f"{file.path!r} leads out of the set"
    if not 0 <= file.shard < len(index.shards):
        return f"{file.path} lies in shard {file.shard} of {len(index.shards)}"
    shard = index.shards[file.shard]
    if file.offset < 0 or file.size <= HEADER or file.offset + file.size > shard.size:
        return (
            f"{file.path} has {file.size:,} bytes from byte {file.offset:,} on, which leads out of {shard.name}, "
            f"{shard.size:,} bytes"
        )
    return ""


def _odd(row: Row, index: ShardIndex) -> str:
    number, labels, start, end = row
    if not 0 <= number < len(index.files):
        return f"a row names video {number} of {len(index.files)}"
    path = index.files[number].path
    if not labels or not all(0 <= label < len(index.classes) for label in labels):
        return f"{path} has the labels {list(labels)} of {len(index.classes)} classes"
    if not 0 <= (start or 0) < (float("inf") if end is None else end):
        return f"{path} has a part from {start} to {end}"
    return ""


def is_name(text: str) -> bool:
    """Return True for what can be the name of one file."""
    return 0 < len(text) <= 255 and text not in (".", "..") and not {"/", "\0"} & set(text)
