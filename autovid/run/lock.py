"""One process to a run directory: a kernel lock, which ends with the process however it ends."""

import fcntl
import os
import weakref
from pathlib import Path

from autovid.errors import RunError
from autovid.fileio import explained


class RunLock:
    """Holds `path` locked until `release`. Raises RunError, naming the process, if another one holds it."""

    def __init__(self, path: Path) -> None:
        with explained(f"cannot lock {path}"):
            self._file = open(path, "a+b", buffering=0)  # noqa: SIM115 - open is what holds the lock
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._file.seek(0)
                holder = self._file.read(200).decode(errors="replace").strip() or "another process"
                raise RunError(f"{path.parent} is in use by {holder}; wait for it, or choose another -o") from None
            self._file.truncate(0)
            self._file.write(f"process {os.getpid()} on {os.uname().nodename}\n".encode())
        _held.add(self)

    def release(self) -> None:
        """Gives the directory free; twice does no harm."""
        self._file.close()


_held: "weakref.WeakSet[RunLock]" = weakref.WeakSet()


def _forget_in_child() -> None:
    # A forked loader worker that outlives a killed run must not keep the run directory locked.
    for lock in list(_held):
        lock.release()


os.register_at_fork(after_in_child=_forget_in_child)
