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
from autovid.data.shards import Place, Root
from autovid.data.workers import DeadWorkerError, WorkerPool
from autovid.errors import DataError

DIED = "the process that decodes it dies"

Part = tuple[float | None, float | None]  # start and end of a row of the index


class VideoTask(msgspec.Struct, frozen=True):
    """A file or folder of frames, relative to the set's root, with the parts of it that the index lists."""

    path: str
    parts: tuple[Part, ...]


class VideoResult(msgspec.Struct, frozen=True):
    """The result of a task. `stamp`: the file's size and time, so that another file of this name is processed again.

    `reason`: why it cannot be read, else empty. `reasons`: for each part, likewise. `seconds`: of each part. `new`: the
    copy.
    """

    task: VideoTask
    stamp: str
    reason: str = ""
    reasons: tuple[str, ...] = ()
    new: VideoTask | None = None
    seconds: tuple[float, ...] = ()


class ProgressDisplay(Protocol):
    """The display that `process` updates; `autovid.run.Progress` is one."""

    def start(self, total: int, done: int, status: str = "") -> None: ...
    def update(self, done: int, status: str, metrics: dict[str, float]) -> None: ...
    def close(self) -> None: ...


class Journal:
    """The results so far, a JSON line each after a first line with the settings. One process at a time has it open.

    `anew`: where it was begun with other settings, it is emptied. Raises DataError where another has it, or it was
    begun with other settings and not `anew`.
    """

    def __init__(self, path: Path, settings: dict[str, Any], *, anew: bool = False) -> None:
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
        if begun is None or (anew and begun != settings):
            lines = []
            self._file.truncate(0)
            self._file.write(msgspec.json.encode(settings) + b"\n")
        elif begun != settings:
            self.close()
            raise DataError(f"{path}: was begun with {begun}, not with {settings}; remove it to begin anew")
        results = (_decoded(line, VideoResult) for line in lines[1:])
        self.results = {result.task: result for result in results if result is not None}

    def add(self, result: VideoResult) -> None:
        """Append a result."""
        self._file.write(msgspec.json.encode(result) + b"\n")
        self.results[result.task] = result

    def close(self) -> None:
        """Let other processes open it."""
        self._file.close()


def tasks(videos: VideoSet) -> list[VideoTask]:
    """Return a task for every file of the index, in its order."""
    parts: dict[str, list[Part]] = defaultdict(list)
    for video in videos.videos:
        if (video.start, video.end) not in parts[video.path]:
            parts[video.path].append((video.start, video.end))
    return [VideoTask(path, tuple(own)) for path, own in parts.items()]


def process(
    root: Root,
    todo: list[VideoTask],
    work: Callable[[VideoTask], VideoResult],
    journal: Journal,
    workers: int,
    progress: ProgressDisplay,
) -> list[VideoResult]:
    """Do the tasks; return their results in order. A task whose file is as the journal has it is not done again,
    unless its process has died.

    Raises the DataError of a task, such as a lost connection or a shard that does not fit its index: that is no fault
    of the video, and the journal gets no line of it.
    """
    known = {task: journal.results[task] for task in todo if task in journal.results}
    known = {task: result for task, result in known.items() if result.reason != DIED}  # memory may have been short
    open_tasks = [task for task in todo if task not in known or known[task].stamp != stamp(root / task.path)]
    broken, done = sum(bool(result.reason) for result in known.values()), len(todo) - len(open_tasks)
    progress.start(len(todo), done)
    try:
        for result in _results(work, open_tasks, workers, root):
            journal.add(result)
            done, broken = done + 1, broken + bool(result.reason)
            progress.update(done, f"{broken} broken" if broken else "", {})
    finally:
        progress.close()
    return [journal.results[task] for task in todo]


def stamp(path: Place) -> str:
    """Return size and time of last change; empty where there is no file."""
    if not isinstance(path, Path):
        return path.stamp
    try:
        info = os.stat(record_of(str(path))[0])
    except OSError:
        return ""
    return f"{info.st_size}-{info.st_mtime_ns}"


def _results(
    work: Callable[[VideoTask], VideoResult], todo: list[VideoTask], workers: int, root: Root
) -> Iterator[VideoResult]:
    """Yield results in order. Where a process dies, the tasks that it may have died of get a process each."""
    waiting = deque(todo)
    while waiting:
        pool: WorkerPool[VideoTask, VideoResult] = WorkerPool(work, workers)
        try:
            for result in pool.run(list(waiting)):
                waiting.popleft()
                yield result
        except DeadWorkerError:
            for _ in range(min(2 * workers, len(waiting))):
                yield _alone(work, waiting.popleft(), root)
        finally:
            pool.close()


def _alone(work: Callable[[VideoTask], VideoResult], task: VideoTask, root: Root) -> VideoResult:
    pool: WorkerPool[VideoTask, VideoResult] = WorkerPool(work, 1)
    try:
        return next(pool.run([task]))
    except DeadWorkerError:
        return VideoResult(task, stamp(root / task.path), DIED)
    finally:
        pool.close()


def _decoded(line: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(line, type=kind)
    except msgspec.MsgspecError:
        return None
