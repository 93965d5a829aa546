"""Sources of a live video: a growing file, a camera, a TCP or an RTSP address.

Nothing is opened but what the user has named. Files and TCP are read by Python, and FFmpeg gets their bytes alone; for
RTSP it may speak RTSP over TCP, and no other protocol.
"""

import os
import re
import select
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from autovid.data.video import any_metadata, pyav, reading
from autovid.errors import ConfigError, DataError

FORMATS = "mpegts,matroska,webm"  # that can be read from the middle on, or while they are written
POLL = 0.1  # seconds between two looks at a file that has not grown, or at whether to stop
PATIENCE = 10.0  # seconds in which a camera or an RTSP server has to answer
AT_ONCE = {"fpsprobesize": "0"}  # else FFmpeg waits for 20 frames, to tell the rate
CAMERA = re.compile(r"/dev/video\d+")

Stopped = Callable[[], bool]


class LiveSource(Protocol):
    """A place that a stream of frames comes from."""

    def open(self, stopped: Stopped) -> AbstractContextManager[Any]:
        """Open a container of PyAV, which ends soon after `stopped` says so. Raises VideoError."""
        ...


class GrowingFile:
    """A file that another program writes. It ends where it is replaced or cut off: opened again, it begins anew."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            regular = stat.S_ISREG(path.stat().st_mode)
        except OSError as error:
            raise DataError(f"{path}: {error.strerror}; start the recording first") from error
        if not regular:
            raise DataError(f"{path} is not a file; a camera is /dev/videoN")

    @contextmanager
    def open(self, stopped: Stopped) -> Iterator[Any]:
        """Open it from its beginning."""
        with reading():
            file = self.path.open("rb", buffering=0)
        with file, _container(lambda size: self._read(file, size, stopped)) as container:
            yield container

    def _read(self, file: Any, size: int, stopped: Stopped) -> bytes:
        """Read what there is, or wait until the file grows; nothing where it does no more."""
        while not stopped():
            if data := file.read(size):
                return bytes(data)
            if self._is_another(file):
                break
            select.select([], [], [], POLL)
        return b""

    def _is_another(self, file: Any) -> bool:
        try:
            now = os.stat(self.path)
        except OSError:
            return False  # it may come back
        mine = os.fstat(file.fileno())
        return (now.st_ino, now.st_dev) != (mine.st_ino, mine.st_dev) or now.st_size < file.tell()


class TcpAddress:
    """A server that sends MPEG-TS or Matroska to whoever connects."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port

    @contextmanager
    def open(self, stopped: Stopped) -> Iterator[Any]:
        """Connect."""
        with reading():
            connection = socket.create_connection((self.host, self.port), timeout=PATIENCE)
        with connection, _container(lambda size: _receive(connection, size, stopped)) as container:
            yield container


def _receive(connection: socket.socket, size: int, stopped: Stopped) -> bytes:
    while not stopped():
        if select.select([connection], [], [], POLL)[0]:
            return connection.recv(size)
    return b""


class RtspAddress:
    """A camera or server that speaks RTSP; frames come over the same TCP connection."""

    def __init__(self, url: str) -> None:
        self.url = url

    def open(self, stopped: Stopped) -> AbstractContextManager[Any]:
        """Connect."""
        options = {"rtsp_transport": "tcp", "protocol_whitelist": "rtsp,tcp", "format_whitelist": "rtsp", **AT_ONCE}
        return _opened(self.url, options=options, timeout=PATIENCE)


class Camera:
    """A camera of Linux (V4L2). Not tested: no machine that the tests run on has one."""

    def __init__(self, path: str) -> None:
        self.path = path

    def open(self, stopped: Stopped) -> AbstractContextManager[Any]:
        """Open the device."""
        return _opened(self.path, format="v4l2", timeout=PATIENCE)


def live_source(text: str) -> LiveSource:
    """Return the source of this name. Raises ConfigError for an address of another kind, DataError for no file."""
    if CAMERA.fullmatch(text):
        return Camera(text)
    if "://" not in text:
        return GrowingFile(Path(text))
    try:
        url = urlsplit(text)
        host, port = url.hostname, url.port
    except ValueError as error:
        raise ConfigError(f"{without_password(text)} is no address: {error}") from error
    if url.scheme == "rtsp" and host:
        return RtspAddress(text)
    if url.scheme == "tcp" and host and port and not (url.path or url.query):
        return TcpAddress(host, port)
    known = "a file, /dev/videoN, tcp://HOST:PORT or rtsp://HOST/PATH"
    raise ConfigError(f"{without_password(text)} cannot be followed; give {known}")


def without_password(text: str) -> str:
    """Return the name of a source as it may be shown: what stands before @ in an address is left out."""
    return re.sub(r"^(\w+://)[^/]*@", r"\1", text)


class _Bytes:
    """A file for PyAV, which asks it for bytes and never seeks."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self.read = read


def _container(read: Callable[[int], bytes]) -> AbstractContextManager[Any]:
    """Open bytes as a container."""
    options = {"format_whitelist": FORMATS, "protocol_whitelist": "none", **AT_ONCE}
    return _opened(_Bytes(read), "no MPEG-TS or Matroska that can be read while it is written: ", options=options)


@contextmanager
def _opened(source: Any, hint: str = "", **options: Any) -> Iterator[Any]:
    """Open a container. Raises VideoError."""
    with reading(hint):
        container = pyav().open(source, **options, **any_metadata())
    try:
        yield container
    finally:
        container.close()
