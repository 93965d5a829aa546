"""Two real processes that meet over gloo, as torchrun would start them, and run functions of tests side by side.

They are started at the first use and serve all tests of a session, since importing torch takes seconds.
"""

import atexit
import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

SIZE = 2
_pool: "list[subprocess.Popen[bytes]]" = []


def together(work: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What `work(*arguments)` gives on every worker; `work` is a function of a test file."""
    if not _pool:
        _pool.extend(start())
    try:
        for process in _pool:
            assert process.stdin is not None
            pickle.dump((sys.modules[work.__module__].__file__, work.__name__, arguments), process.stdin)
            process.stdin.flush()
        answers = [pickle.load(process.stdout) for process in _pool if process.stdout is not None]
    except (EOFError, OSError):
        stop()
        raise
    for answer in answers:
        if isinstance(answer, BaseException):
            stop()  # where one has failed, the others may be anywhere
            raise answer
    return answers


def start() -> "list[subprocess.Popen[bytes]]":
    port = free_port()
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    return [
        subprocess.Popen([sys.executable, __file__], env=environment(rank, port), **pipes)  # type: ignore[call-overload]
        for rank in range(SIZE)
    ]


@atexit.register
def stop() -> None:
    for process in _pool:
        process.kill()
        process.communicate()
    _pool.clear()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def environment(rank: int, port: int) -> dict[str, str]:
    """What torchrun sets."""
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(SIZE)}
    places = {"RANK": str(rank), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(SIZE)}
    root = str(Path(__file__).parents[1])
    return {**os.environ, **meeting, **places, "PYTHONPATH": root}


def serve() -> None:
    import importlib

    from autovid import distributed

    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the work prints must not come between
    with distributed.process_group():
        while True:
            try:
                file, name, arguments = pickle.load(sys.stdin.buffer)
            except EOFError:
                return
            if (folder := str(Path(file).parent)) not in sys.path:
                sys.path.insert(0, folder)
            try:
                answer = getattr(importlib.import_module(Path(file).stem), name)(*arguments)
            except Exception as error:
                answer = error
            pickle.dump(answer, answers)
            answers.flush()


if __name__ == "__main__":
    serve()
