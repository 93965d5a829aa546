"""One process to a run directory: a kernel lock, which ends with the process however it ends."""

import fcntl
import os
import weakref
from pathlib import Path

from autovid.errors import RunError
from autovid.run.files import explained


class RunLock:
    """Holds `path` locked until `release`. Raises RunError, naming the process, if another one holds it."""

    def __init__(self, path: Path) -> None:
        with explained(f"cannot lock {path}"):
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.read(self._fd, 100).decode(errors="replace").strip() or "another process"
                os.close(self._fd)
                raise RunError(f"{path.parent} is in use by {holder}; wait for it, or choose another -o") from None
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, f"process {os.getpid()} on {os.uname().nodename}\n".encode(), 0)
        _held.add(self)

    def release(self) -> None:
        """Gives the directory free; twice does no harm."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1


_held: "weakref.WeakSet[RunLock]" = weakref.WeakSet()


def _forget_in_child() -> None:
    # A forked loader worker that outlives a killed run must not keep the run directory locked.
    for lock in list(_held):
        lock.release()


os.register_at_fork(after_in_child=_forget_in_child)
