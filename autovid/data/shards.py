"""Packed data sets: videos inside tar files, in a folder or at an address, in the places of a root and of paths.

The tar files follow WebDataset's convention: the members of a sample stand next to each other and share their name up
to the first dot. Here this is a running number: `000000017.mp4`, `000000017.cls` (the number of its class) and
`000000017.json` (its path in the set that was packed, and its rows). Frames are `000000017.00001.jpg` and so on. We
read by the index alone: nothing is unpacked, and no name in a tar file becomes a name on a disk.
"""

import hashlib
import io
import os
import stat
import tarfile
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, TypeAlias

import msgspec

from autovid.data.member_cache import SIZE, cache_bytes, member_cache
from autovid.data.remote import is_address, public, read_part, wrong_size
from autovid.data.shard_index import HEADER, INDEX, Extent, Shard, ShardIndex, read_index
from autovid.errors import DataError
from autovid.fileio import size_text

UNDER_WAY = ".pack"  # folder of what is known of shards while a set is being packed


class Shards(msgspec.Struct, frozen=True):
    """The root of a packed set, in the place of a folder: `shards / path` is a `Member`.

    `place`: the folder or the address. `key`: the digest of the index. `numbers`: of the `files`, by their paths.
    """

    place: str
    key: str
    shards: tuple[Shard, ...]
    files: tuple[Extent, ...]
    numbers: dict[str, int]

    def __truediv__(self, path: str) -> "Member":
        return Member(self, path)

    def __str__(self) -> str:
        """Write the folder, or the address without what is secret in it."""
        return public(self.place) if self.remote else self.place

    @property
    def remote(self) -> bool:
        """True if the shards are at an address."""
        return is_address(self.place)

    @property
    def size(self) -> int:
        """Bytes of all shards."""
        return sum(shard.size for shard in self.shards)

    def absolute(self) -> "Shards":
        """Return itself, which does not depend on the current folder."""
        return self

    def resolve(self) -> "Shards":
        """Return itself, as `absolute`."""
        return self


class ByteRange(io.RawIOBase):
    """`size` bytes of an open file from `first` on, read as a file of their own; `close` closes the file.

    `origin`: (name of the shard, byte in it at which they begin), for errors.
    """

    def __init__(self, file: int, first: int, size: int, origin: tuple[str, int]) -> None:
        super().__init__()
        self._file, self._first, self._size, self._at, self._origin = file, first, size, 0, origin

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer from the current place on; return the number of bytes."""
        data = self.part(self._at, len(buffer))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def tell(self) -> int:
        """Return the current place."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place, and return it."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise OSError("a place before the first byte")
        self._at = start + offset
        return self._at

    def close(self) -> None:
        """Close the file, also where nobody calls this: Python does when the last reference goes."""
        if not self.closed:
            os.close(self._file)
        super().close()

    def part(self, first: int, size: int) -> bytes:
        """Return up to `size` bytes from byte `first` of the range on."""
        return os.pread(self._file, max(0, min(size, self._size - first)), self._first + first)

    def narrow(self, first: int, size: int) -> "ByteRange":
        """Leave only these bytes of the range."""
        self._first, self._size, self._at = self._first + first, min(size, self._size - first), 0
        self._origin = self._origin[0], self._origin[1] + first
        return self

    def header(self, at: int) -> tuple[str, int]:
        """Return name and bytes of the member of the tar file whose header is at a byte. Raises DataError."""
        try:
            info = tarfile.TarInfo.frombuf(self.part(at, HEADER), "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise DataError(f"{self.where(at)}: no member of a tar file where the index has one ({error})") from error
        if not info.isreg():
            raise DataError(f"{self.where(at)}: {info.name!r} is a link or no file, and is not read")
        if info.size < 0 or at + HEADER + info.size > self._size:
            raise DataError(f"{self.where(at)}: {info.name!r} leads out of its place in the index")
        return info.name, info.size

    def where(self, at: int) -> str:
        """Say which byte of which shard a byte of the range is."""
        return f"{self._origin[0]}, byte {self._origin[1] + at:,}"


class Slice(NamedTuple):
    """A frame in a range, in the place of a path."""

    name: str
    content: ByteRange
    first: int
    size: int

    def open(self, mode: str = "rb") -> io.BytesIO:
        """Open its bytes."""
        return io.BytesIO(self.content.part(self.first, self.size))


class Member:
    """A video, an image or a folder of frames in a shard, in the place of a path."""

    def __init__(self, root: Shards, path: str) -> None:
        self._root, self._number = root, root.numbers[path]
        self.extent = root.files[self._number]
        self._shard = root.shards[self.extent.shard]

    def __str__(self) -> str:
        return f"{self._root}/{self.extent.path}"

    @property
    def name(self) -> str:
        """The last part of its path."""
        return PurePosixPath(self.extent.path).name

    @property
    def stamp(self) -> str:
        """The size, and the digest of the index."""
        return f"{self.extent.size}-{self._root.key}"

    def open(self, mode: str = "rb") -> ByteRange:
        """Open the bytes of a video or an image. Raises DataError where its shard does not have them."""
        part = self._open()
        name, size = part.header(0)
        if name.partition(".")[0] != self._key or HEADER + size != self.extent.size:
            raise self._foreign(part.where(0), name)
        return part.narrow(HEADER, size)

    def open_frames(self) -> tuple[ByteRange, dict[int, Slice]]:
        """Open a folder of frames: its bytes, to be closed by the caller, and its frames by their numbers.

        Raises DataError.
        """
        part, at = self._open(), 0
        frames: dict[int, Slice] = {}
        while at < self.extent.size:
            name, size = part.header(at)
            key, number, *_ = *name.split("."), "", ""
            if key != self._key or not (number.isdecimal() and number.isascii()) or len(number) > 9:
                raise self._foreign(part.where(at), name)
            frames[int(number)] = Slice(f"{number}.jpg", part, at + HEADER, size)
            at += HEADER + padded(size)
        return part, frames

    def _open(self) -> ByteRange:
        """Open all bytes that the index lists. Raises DataError."""
        place, extent, size = f"{self._root}/{self._shard.name}", self.extent, self._shard.size
        if self._root.remote:
            return ByteRange(self._kept(place), 0, extent.size, (place, extent.offset))
        try:
            file = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise DataError(f"{place}: {error.strerror}") from error
        if (actual := os.fstat(file).st_size) != size:
            os.close(file)
            raise DataError(f"{place}: {wrong_size(actual, size)}")
        return ByteRange(file, extent.offset, extent.size, (place, extent.offset))

    def _kept(self, place: str) -> int:
        """Open a copy of these bytes on this machine, made where there is none."""
        root, extent, shard = self._root, self.extent, self._shard

        def fetch(first: int, last: int) -> bytes:
            return read_part(root.place, shard.name, extent.offset + first, extent.offset + last, shard.size)

        name = hashlib.sha256(f"{root.key} {shard.name} {extent.offset} {extent.size}".encode()).hexdigest()
        return member_cache().open(name, extent.size, fetch, str(self))

    @property
    def _key(self) -> str:
        return sample_key(self._number)

    def _foreign(self, where: str, name: str) -> DataError:
        return DataError(
            f"{where}: {name!r}, where the index has {self.extent.path}: they do not belong together; copy both again"
        )


Root: TypeAlias = Path | Shards
Place: TypeAlias = Path | Member


def open_shards(place: str) -> tuple[ShardIndex, Shards]:
    """Open the packed set in a folder or at an address. Raises DataError."""
    index, key = read_index(place)
    place = place if is_address(place) else os.path.abspath(place)
    if not is_address(place):
        for shard in index.shards:
            _check_file(Path(place) / shard.name, shard.size)
    numbers = {file.path: number for number, file in enumerate(index.files)}
    return index, Shards(place, key, index.shards, index.files, numbers)


def is_packed(folder: Path) -> bool:
    """Return True for a folder with the index of a packed set. Raises DataError where packing has not ended."""
    if (folder / INDEX).is_file():
        return True
    if (folder / UNDER_WAY).is_dir():
        raise DataError(f"{folder}: packing has not come to its end; the same `autovid data pack` goes on")
    return False


def cache_note(root: Root) -> list[str]:
    """Say where the cache on this machine is smaller than a set at an address."""
    if isinstance(root, Shards) and root.remote and root.size > (most := cache_bytes()):
        return [
            f"{root}: {size_text(root.size)}, of which {size_text(most)} may be kept on this disk; what has no room is "
            f"fetched again in each epoch ({SIZE})"
        ]
    return []


def sample_key(number: int) -> str:
    """Return what the names of the members of a sample begin with."""
    return f"{number:09d}"


def padded(size: int) -> int:
    """Return the bytes that the content of a member takes in a tar file."""
    return -(-size // HEADER) * HEADER


def _check_file(path: Path, size: int) -> None:
    try:
        info = os.lstat(path)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; copy it again") from error
    if not stat.S_ISREG(info.st_mode):
        raise DataError(f"{path}: a link or no file; put the shard itself there")
    if info.st_size != size:
        raise DataError(f"{path}: {wrong_size(info.st_size, size)}")
