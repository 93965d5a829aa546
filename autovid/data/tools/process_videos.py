"""Work on every video of a data set, in parallel processes and with a journal: killed at any time, it goes on."""

import fcntl
import os
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import msgspec

from autovid.data.file_lookup import record_of
from autovid.data.index import VideoSet
from autovid.data.workers import Workers
from autovid.errors import DataError

Part = tuple[float | None, float | None]  # start and end of a row of the index


class Task(msgspec.Struct, frozen=True):
    """A file or folder of frames, relative to the set's root, with the parts of it that the index lists."""

    path: str
    parts: tuple[Part, ...]


class Done(msgspec.Struct, frozen=True):
    """What came of a task. `stamp`: the file's size and time, so that another file of this name is looked at again.

    `reason`: why nothing can be had of it, else empty. `reasons`: for each part, likewise. `new`: where it now lies.
    """

    task: Task
    stamp: str
    reason: str = ""
    reasons: tuple[str, ...] = ()
    new: Task | None = None


class Shows(Protocol):
    """What a sweep tells of its progress; `autovid.run.Progress` is one."""

    def start(self, total: int, done: int, status: str = "") -> None: ...
    def update(self, done: int, status: str, metrics: dict[str, float]) -> None: ...
    def close(self) -> None: ...


class Journal:
    """What is done, a JSON line each after a first line with the settings. One process at a time holds it.

    Raises DataError where another holds it, or it was begun with other settings.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self._file = path.open("a+b", buffering=0)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise DataError(f"{path}: another process is at it; wait until it is through") from None
        self._file.seek(0)
        lines = self._file.read().split(b"\n")
        if lines[-1]:  # cut short by a kill: what comes must not be glued to it
            self._file.write(b"\n")
        begun = _decoded(lines[0], dict[str, Any])
        if begun is None:
            self._file.truncate(0)
            self._file.write(msgspec.json.encode(settings) + b"\n")
        elif begun != settings:
            self.close()
            raise DataError(f"{path}: was begun with {begun}, not with {settings}; remove it to begin anew")
        found = (_decoded(line, Done) for line in lines[1:])
        self.done = {done.task: done for done in found if done is not None}

    def add(self, done: Done) -> None:
        """Notes one more."""
        self._file.write(msgspec.json.encode(done) + b"\n")
        self.done[done.task] = done

    def close(self) -> None:
        """Lets others have it."""
        self._file.close()


def tasks(videos: VideoSet) -> list[Task]:
    """Every file of the index once, in its order."""
    parts: dict[str, list[Part]] = defaultdict(list)
    for video in (*videos.train, *videos.val):
        if (video.start, video.end) not in parts[video.path]:
            parts[video.path].append((video.start, video.end))
    return [Task(path, tuple(own)) for path, own in parts.items()]


def sweep(
    root: Path, todo: list[Task], work: Callable[[Task], Done], journal: Journal, workers: int, shows: Shows
) -> list[Done]:
    """What comes of each task, in order; those whose file is as the journal has it are not done again."""
    open_ones = [task for task in todo if not _is_done(journal.done.get(task), root)]
    broken = sum(bool(journal.done[task].reason) for task in todo if task in journal.done)
    done = len(todo) - len(open_ones)
    shows.start(len(todo), done)
    try:
        for result in _results(work, open_ones, workers, root):
            journal.add(result)
            done, broken = done + 1, broken + bool(result.reason)
            shows.update(done, f"{broken} broken" if broken else "", {})
    finally:
        shows.close()
    return [journal.done[task] for task in todo]


def stamp(path: Path) -> str:
    """Size and time of last change; empty where there is nothing."""
    try:
        info = os.stat(record_of(str(path))[0])
    except OSError:
        return ""
    return f"{info.st_size}-{info.st_mtime_ns}"


def _is_done(done: Done | None, root: Path) -> bool:
    return done is not None and done.stamp == stamp(root / done.task.path)


def _results(work: Callable[[Task], Done], todo: list[Task], workers: int, root: Path) -> Iterator[Done]:
    """In order. Where a process dies, those that it may have died of are tried one by one, in a process each."""
    waiting = deque(todo)
    while waiting:
        pool: Workers[Task, Done] = Workers(work, workers)
        try:
            for result in pool.run(list(waiting)):
                waiting.popleft()
                yield result
        except DataError:
            for _ in range(min(2 * workers, len(waiting))):
                yield _alone(work, waiting.popleft(), root)
        finally:
            pool.close()


def _alone(work: Callable[[Task], Done], task: Task, root: Path) -> Done:
    pool: Workers[Task, Done] = Workers(work, 1)
    try:
        return next(pool.run([task]))
    except DataError:
        return Done(task, stamp(root / task.path), "the process that decodes it dies")
    finally:
        pool.close()


def _decoded(line: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(line, type=kind)
    except msgspec.MsgspecError:
        return None
