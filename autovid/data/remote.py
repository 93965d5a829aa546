"""Folders at addresses: parts of their files, asked for again where a connection is lost.

`http://` and `https://` are read by urllib3, everything else (`s3://`, `gs://`, `hf://`, ...) by fsspec, which needs a
package for each protocol. Only files below an address that the user has named are asked for: a redirect is refused, and
so are fsspec's chains of protocols. Names, passwords and queries of an address are used, and never written or printed.
"""

import re
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit, urlunsplit

from autovid.errors import DataError

ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
TRIES = 7
WAIT = 1.0  # seconds before the second try; twice as long before each further one
CONNECT, ANSWER = 20.0, 30.0  # seconds that an HTTP server has
PIECE = 1 << 23  # bytes that are asked for at once
AGAIN = (408, 425, 429)  # HTTP answers after which to try again, beside 5xx


class Refusal(Exception):
    """An answer that will not change by asking again."""


class LostConnection(Exception):
    """A connection that is refused, cut or silent, or a server in trouble."""


class RemoteFolder(Protocol):
    """A folder whose files are asked for in parts. Both methods raise Refusal and LostConnection."""

    def read(self, name: str, first: int, last: int, size: int) -> bytes:
        """Return bytes first .. last - 1 of a file, which has `size`."""
        ...

    def size(self, name: str) -> int:
        """Return the size of a file in bytes."""
        ...


def is_address(source: object) -> bool:
    """Return True for `PROTOCOL://...`."""
    return ADDRESS.match(str(source)) is not None


def public(address: str) -> str:
    """Return an address without name and password, query and fragment: what may be written down."""
    parts = urlsplit(address)
    secret = "@" in parts.netloc and (parts.scheme.lower() in ("http", "https") or ":" in parts.netloc.split("@")[0])
    host = parts.netloc.rpartition("@")[2] if secret else parts.netloc
    return urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))


def below(address: str, name: str) -> str:
    """Return the address of a file in the folder at `address`, with the folder's query."""
    parts = urlsplit(address)
    return urlunsplit((parts.scheme, parts.netloc, f"{parts.path.rstrip('/')}/{name}", parts.query, ""))


def read_part(address: str, name: str, first: int, last: int, size: int) -> bytes:
    """Return bytes first .. last - 1 of a file of `size` bytes in the folder at `address`. Raises DataError."""
    data: bytes = _tried(address, name, lambda: _folder(address).read(name, first, last, size))
    return data


def read_whole(address: str, name: str, most: int) -> bytes:
    """Return a file of `most` bytes at most in the folder at `address`. Raises DataError."""
    size = _tried(address, name, lambda: _folder(address).size(name))
    if size > most:
        raise DataError(f"{public(address)}/{name}: {size:,} bytes, more than the {most:,} that it may have")
    return b"".join(read_part(address, name, first, min(first + PIECE, size), size) for first in range(0, size, PIECE))


def _tried(address: str, name: str, work: Callable[[], Any]) -> Any:
    began = time.monotonic()
    for number in range(TRIES):
        try:
            return work()
        except Refusal as error:
            raise DataError(f"{public(address)}/{name}: {_without_secrets(address, error)}") from None
        except LostConnection as error:
            reason = _without_secrets(address, error)
        if number + 1 < TRIES:
            time.sleep(WAIT * 2**number)
    raise DataError(
        f"{public(address)}/{name}: no connection in {TRIES} tries and {time.monotonic() - began:.0f} s, the last: "
        f"{reason}. When it answers again, the same command goes on (a run by --resume)"
    )


def _without_secrets(address: str, error: Exception) -> str:
    """Return the text of an error, in which a library may have written the whole address."""
    text, parts = str(error), urlsplit(address)
    for secret in (parts.query, parts.netloc.rpartition("@")[0]):
        text = text.replace(secret, "...") if secret else text
    return text


@lru_cache(maxsize=4)
def _folder(address: str) -> RemoteFolder:
    if urlsplit(address).scheme.lower() in ("http", "https"):
        return HttpFolder(address)
    return FsspecFolder(address)


class HttpFolder:
    """A folder of an HTTP server that serves parts of files."""

    def __init__(self, address: str) -> None:
        import urllib3

        parts = urlsplit(address)
        names, _, host = parts.netloc.rpartition("@")
        self._address = urlunsplit((parts.scheme, host, parts.path, parts.query, ""))
        self._headers = {"Accept-Encoding": "identity"}  # parts of a compressed file would be others
        if names:
            self._headers |= urllib3.make_headers(basic_auth=unquote(names))
        timeout = urllib3.Timeout(connect=CONNECT, read=ANSWER)
        self._pool = urllib3.PoolManager(timeout=timeout, retries=False)

    def read(self, name: str, first: int, last: int, size: int) -> bytes:
        """Return bytes first .. last - 1 of a file, which has `size`."""
        data, total = self._part(name, first, last)
        if total != size:
            raise Refusal(wrong_size(total, size))
        return data

    def size(self, name: str) -> int:
        """Return the size of a file in bytes."""
        return self._part(name, 0, 1)[1]

    def _part(self, name: str, first: int, last: int) -> tuple[bytes, int]:
        """Return bytes first .. last - 1 of a file, as far as it has them, and its size."""
        import urllib3

        headers = {**self._headers, "Range": f"bytes={first}-{last - 1}"}
        try:
            answer = self._pool.request(
                "GET", below(self._address, name), headers=headers, redirect=False, preload_content=False,
                decode_content=False,
            )  # fmt: skip
            try:
                total = _total(answer, first)
                data: bytes = answer.read(min(last, total) - first) if first < total else b""
            finally:
                if answer.length_remaining == 0:  # the connection can be used again
                    answer.drain_conn()
                    answer.release_conn()
                answer.close()
        except urllib3.exceptions.LocationValueError as error:
            raise Refusal(f"no address that can be opened: {_line(error)}") from error
        except urllib3.exceptions.HTTPError as error:
            raise LostConnection(_line(error)) from error
        if len(data) < min(last, total) - first:
            raise LostConnection(f"{len(data):,} of {last - first:,} bytes came")
        return data, total


def _total(answer: Any, first: int) -> int:
    """Return the size of the file of which an answer brings bytes from `first` on. Raises Refusal, LostConnection."""
    status, reason = answer.status, answer.reason or "without a reason"
    ranges = answer.headers.get("Content-Range", "")
    if status == 206:
        match = re.fullmatch(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18})", ranges)
        if not match or int(match[1]) != first:
            raise Refusal(f"the server sends another part than the one asked for ({ranges or 'it does not say which'})")
        return int(match[2])
    if status == 416 and (match := re.fullmatch(r"bytes \*/(\d{1,18})", ranges)):
        return int(match[1])
    if status == 200:
        raise Refusal("the server sends the whole file when asked for a part of it: it does not know HTTP ranges")
    if 300 <= status < 400:
        try:
            to = public(answer.headers.get("Location", ""))
        except ValueError:
            to = "an odd address"
        raise Refusal(f"the server sends us on to {to}, which you have not named; give that address if you trust it")
    if status in (401, 403):
        raise Refusal(f"no permission ({status} {reason}); give the whole address, with all that belongs to it")
    if status in AGAIN or status >= 500:
        raise LostConnection(f"the server answers {status} {reason}")
    raise Refusal(f"the server answers {status} {reason}")


class FsspecFolder:
    """A folder that fsspec opens."""

    def __init__(self, address: str) -> None:
        import fsspec

        protocol = address.partition("://")[0].lower()
        if "::" in address:
            raise Refusal("a chain of protocols (::) may lead anywhere; give an address without")
        if protocol in ("file", "local") or protocol not in fsspec.available_protocols():
            raise Refusal(
                f"{protocol}:// is none of the protocols that are known: https, s3, gs, hf and others of fsspec"
            )
        self._files, self._root = _answered(lambda: fsspec.core.url_to_fs(address.rstrip("/")))
        self._checked: set[str] = set()  # files that have the size of the index

    def read(self, name: str, first: int, last: int, size: int) -> bytes:
        """Return bytes first .. last - 1 of a file, which has `size`."""
        if name not in self._checked:
            if (total := self.size(name)) != size:
                raise Refusal(wrong_size(total, size))
            self._checked.add(name)
        data: bytes = _answered(lambda: self._files.cat_file(f"{self._root}/{name}", start=first, end=last))
        if len(data) != last - first:
            raise LostConnection(f"{len(data):,} of {last - first:,} bytes came")
        return data

    def size(self, name: str) -> int:
        """Return the size of a file in bytes."""
        self._files.invalidate_cache()
        return int(_answered(lambda: self._files.info(f"{self._root}/{name}"))["size"])


def _answered(work: Callable[[], Any]) -> Any:
    """Sort what fsspec and the libraries below it raise into what is final and what is worth another try."""
    try:
        return work()
    except FileNotFoundError as error:
        raise Refusal("there is no such file") from error
    except PermissionError as error:
        raise Refusal(f"no permission: {_line(error)}") from error
    except ImportError as error:
        raise Refusal(f"a package that this protocol needs is not installed: {_line(error)}") from error
    except (ValueError, TypeError, NotImplementedError) as error:
        raise Refusal(f"no address that can be read from: {_line(error)}") from error
    except (OSError, TimeoutError) as error:
        raise LostConnection(_line(error)) from error
    except Exception as error:  # each library has its own: botocore's, aiohttp's, google's
        name = type(error).__name__
        if "Credential" in name or "Auth" in name:
            raise Refusal(f"no permission: {_line(error)}") from error
        raise LostConnection(f"{name}: {_line(error)}") from error


def wrong_size(size: int, listed: int) -> str:
    """Say that a shard is not the one of the index."""
    reason = "it is truncated" if size < listed else "it is another one"
    return f"{size:,} bytes where the index says {listed:,}: {reason}; copy it again"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
