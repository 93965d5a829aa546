"""Files that exist whole or not at all, also after a killed process; and the cache of files that can be rebuilt."""

import contextlib
import errno
import hashlib
import io
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from autovid.errors import ConfigError, RunError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

UNITS = {"M": 10**6, "G": 10**9, "T": 10**12}


@contextlib.contextmanager
def explained(problem: str) -> Iterator[None]:
    """Turn the machine's refusals (disk full, no permission, quota) into one `RunError` line."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        hint = "; free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else ""
        raise RunError(f"{problem}: {reason}{hint}") from error


def write_all(fd: int, data: bytes) -> None:
    """Write every byte: `os.write` alone may stop half-way on a full disk and only say how far it came."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def write_synced(path: Path, data: bytes) -> None:
    """Write a new file and wait until the disk has it."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        write_all(fd, data)
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_folder(path: Path) -> None:
    """Wait until the names inside a folder (new files, renames) are on the disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot sync a folder
            raise
    finally:
        os.close(fd)


def write_atomic(path: str | Path, data: bytes | str) -> None:
    """Replace `path` by `data` (text as UTF-8) in one move: a reader sees the old file or the new, never half.

    Raises RunError if the file cannot be written; the old one is then untouched.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with explained(f"cannot write {path}"):
        try:
            write_synced(temporary, data.encode() if isinstance(data, str) else data)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(path.parent)


def png_bytes(figure: "Figure") -> bytes:
    """Encode a figure of matplotlib as PNG, the same at every time."""
    data = io.BytesIO()
    figure.savefig(data, format="png", metadata={"Software": None})
    return data.getvalue()


def digest(path: Path) -> str:
    """Return the SHA-256 of a file. Raises ConfigError where it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error


def read_size(text: str) -> int:
    """Return the bytes of a text such as 500M, 20G or 2T; 0 where it is no size."""
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)([MGT])B?", text.strip(), re.IGNORECASE | re.ASCII)
    return int(float(match[1]) * UNITS[match[2].upper()]) if match else 0


def size_text(size: int) -> str:
    """Write bytes as people do: 0.3 GB, 12 MB."""
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.3g} MB"


def cache_folder() -> Path:
    """Return $AUTOVID_CACHE, else $XDG_CACHE_HOME/autovid, else ~/.cache/autovid."""
    own, parent = os.environ.get("AUTOVID_CACHE"), os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(own) if own else Path(parent) / "autovid"


def cache_file(name: str, data: bytes) -> None:
    """Write a file of the cache in one move; do nothing where the cache cannot be written."""
    with contextlib.suppress(OSError, RunError):
        cache_folder().mkdir(parents=True, exist_ok=True)
        write_atomic(cache_folder() / name, data)
