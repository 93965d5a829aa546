"""An HTTP server on loopback that serves a folder in parts, and can be told to fail."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


class RangeServer:
    """The server, its address, and what it shall do.

    `troubles`: what the next answers are instead: "cut" after half of the bytes, "hang up" before a byte, or a status.
    `whole`: it does not know ranges. `query`: what an address must have, else 403. `to`: where it sends everybody on.
    """

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        self.troubles: list[str | int] = []
        self.always: str | int | None = None
        self.whole, self.query, self.password, self.to = False, "", "", ""
        self.paths: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/set"


@contextmanager
def serving(folder: Path) -> Iterator[RangeServer]:
    """Serve `folder` as /set."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: Any) -> None:
            pass

        def do_GET(self) -> None:
            answer(self, state)

    class Server(ThreadingHTTPServer):
        def handle_error(self, *arguments: Any) -> None:
            """Say nothing: a client that hangs up is no news."""

    server = Server(("127.0.0.1", 0), Handler)
    state = RangeServer(folder, server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()


def answer(request: BaseHTTPRequestHandler, state: RangeServer) -> None:
    parts = urlsplit(request.path)
    state.paths.append(parts.path)
    trouble = state.troubles.pop(0) if state.troubles else state.always
    if trouble == "hang up":
        request.close_connection = True
        return
    if state.to:
        return reply(request, 302, b"", Location=state.to)
    if parts.query != state.query or request.headers.get("Authorization", "") != state.password:
        return reply(request, 403, b"no")
    if isinstance(trouble, int):
        return reply(request, trouble, b"trouble")
    file = state.folder / parts.path.removeprefix("/set/")
    if not file.is_file():
        return reply(request, 404, b"nothing")
    data = file.read_bytes()
    match = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("Range", ""))
    if state.whole or not match:
        return reply(request, 200, data)
    first, last = int(match[1]), min(int(match[2]), len(data) - 1)
    if first >= len(data):
        return reply(request, 416, b"", **{"Content-Range": f"bytes */{len(data)}"})
    part = data[first : last + 1]
    header = {"Content-Range": f"bytes {first}-{last}/{len(data)}"}
    reply(request, 206, part, cut=trouble == "cut", **header)


def reply(request: BaseHTTPRequestHandler, status: int, data: bytes, cut: bool = False, **headers: str) -> None:
    request.send_response(status)
    for name, value in {"Content-Length": str(len(data)), **headers}.items():
        request.send_header(name, value)
    request.end_headers()
    request.wfile.write(data[: len(data) // 2] if cut else data)
    if cut:
        request.close_connection = True
