"""Parts of remote files, kept on this machine's disk in a bounded number of bytes, for all processes of a user.

A part is a file that is there whole or not at all. Bytes are counted before they are fetched, under a lock; where they
would be too many, what was not used for longest goes first. A part that another process removes while it is read stays
readable, since whoever reads has it open.
"""

import fcntl
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from autovid.data.remote import PIECE
from autovid.errors import ConfigError, DataError
from autovid.fileio import cache_folder, explained, read_size, size_text, write_all

FOLDER = "shards"  # in the cache folder
LOCK = "lock"  # a file that holds the bytes counted so far
SIZE = "AUTOVID_CACHE_SIZE"
DEFAULT = 20 * 10**9
KEPT = 0.9  # of what may be kept, after some was removed: not every new part has to look at all others


class MemberCache:
    """The parts kept in a folder, `most` bytes of them."""

    def __init__(self, folder: Path, most: int) -> None:
        self._folder, self._most = folder, most

    def open(self, name: str, size: int, fetch: Callable[[int, int], bytes], label: str) -> int:
        """Return a descriptor of the file `name` that holds a part of `size` bytes; `label` names it in errors.

        `fetch(first, last)` returns bytes first .. last - 1 of it, and is called where it is not here. Raises DataError
        where it is larger than all that may be kept, RunError where it cannot be written.
        """
        path = self._folder / name
        with suppress(FileNotFoundError, NotADirectoryError):
            file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            if os.fstat(file).st_size == size:
                with suppress(OSError):  # a cache that may only be read
                    os.utime(file)
                return file
            os.close(file)
        if size > self._most:
            raise DataError(
                f"{label}: {size_text(size)}, more than the {size_text(self._most)} that this disk may keep ({SIZE})"
            )
        with explained(f"cannot keep parts of shards in {self._folder} (AUTOVID_CACHE is another place)"):
            self._folder.mkdir(parents=True, exist_ok=True)
            return self._fetched(path, size, fetch)

    def _fetched(self, path: Path, size: int, fetch: Callable[[int, int], bytes]) -> int:
        half = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        file = self._reserve(half, size)
        try:
            for first in range(0, size, PIECE):
                write_all(file, fetch(first, min(first + PIECE, size)))
            os.fsync(file)
            with suppress(FileNotFoundError):  # removed by a process that needed the room: it is still open here
                os.replace(half, path)
        except BaseException:
            os.close(file)
            half.unlink(missing_ok=True)
            raise
        return file

    def _reserve(self, half: Path, size: int) -> int:
        """Make a file of this size, which others count from now on; remove what was not used for longest for it."""
        with self._locked() as lock:
            text = os.pread(lock, 32, 0)
            total = (int(text) if text.isdigit() else self._most) + size
            if total > self._most:
                total = self._trimmed(max(0, int(KEPT * self._most) - size)) + size
            os.ftruncate(lock, 0)
            os.pwrite(lock, b"%d" % total, 0)
            file = os.open(half, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            os.ftruncate(file, size)
            return file

    def _trimmed(self, most: int) -> int:
        """Remove parts, the oldest first, until all have `most` bytes; return the bytes that they have."""
        parts = []
        with os.scandir(self._folder) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    if entry.name != LOCK:
                        info = entry.stat(follow_symlinks=False)
                        parts.append((info.st_mtime_ns, info.st_size, entry.path))
        total = sum(size for _, size, _ in parts)
        for _, size, path in sorted(parts):
            if total <= most:
                break
            with suppress(FileNotFoundError):
                os.unlink(path)
            total -= size
        return total

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """Exclude other threads and processes. The lock of a process that is killed goes with it."""
        lock = os.open(self._folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield lock
        finally:
            os.close(lock)


def cache_bytes() -> int:
    """Return how many bytes may be kept: $AUTOVID_CACHE_SIZE (500M, 20G, 2T), else 20 GB. Raises ConfigError."""
    text = os.environ.get(SIZE)
    if not text:
        return DEFAULT
    size = read_size(text)
    if not size:
        raise ConfigError(f"{SIZE}={text}: give a size such as 500M, 20G or 2T")
    return size


def member_cache() -> MemberCache:
    """Return the cache of this user, of the size that the environment says."""
    return MemberCache(cache_folder() / FOLDER, cache_bytes())
