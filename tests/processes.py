"""Programs that tests start, of which nothing is left running at the end, however a test ends."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def running(words: Sequence[str], **options: Any) -> Iterator["subprocess.Popen[Any]"]:
    """The program; at the end it and all that it has started are killed, those in sessions of their own too."""
    process = subprocess.Popen(words, **options)
    try:
        yield process
    finally:
        for pid in descendants(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.communicate()


def descendants(pid: int) -> set[int]:
    """`pid`, its children, theirs and so on."""
    pids = {pid}
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(stat.parent.name)] = int(fields[1])
    while new := {child for child, parent in parents.items() if parent in pids} - pids:
        pids |= new
    return pids
