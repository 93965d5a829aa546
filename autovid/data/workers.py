"""A function applied to items, in order, by a few processes or by none.

Each worker has a pipe of its own and takes every n-th item, so the order needs no book-keeping and a dead worker is an
end of file, not a wait. Workers leave Ctrl-C, SIGTERM and SIGUSR1 to the main process and go when it goes, however it
goes.
"""

import atexit
import signal
import sys
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

from autovid.errors import AutovidError, DataError

Item = TypeVar("Item")
Result = TypeVar("Result")


class DeadWorkerError(DataError):
    """A process of a pool has died; what it worked on may be why."""


class WorkerPool(Generic[Item, Result]):
    """`count` processes that compute `work(item)`; started at the first use, and kept until `close`.

    `work` and everything that travels must be picklable; a script that uses workers needs the usual
    `if __name__ == "__main__":` around its work. With count = 0 all happens here, in the calling thread.
    """

    def __init__(self, work: Callable[[Item], Result], count: int) -> None:
        self._work = work
        self._count = count
        self._pipes: list[Connection] = []
        self._processes: list[Any] = []
        self._current: object = None  # the run whose results are on their way
        _open.add(self)

    def run(self, items: Iterable[Item]) -> Iterator[Result]:
        """Yield the results (not None) in the order of the items, each worker being at most one item ahead.

        Errors of `work` are raised here, at its place in the order. Raises DeadWorkerError where a worker has died.
        A new run ends the one before.
        """
        if not self._count:
            yield from map(self._work, items)
            return
        if self._current is not None:
            self.close()  # results of that run are still to come, and would be taken for those of this one
        if not self._processes:
            self._start()
        run = self._current = object()
        try:
            for result in self._results(items):
                yield result
                assert self._current is run, "this run has been ended by a later one"
            self._current = None
        except (EOFError, OSError) as error:
            raise DeadWorkerError(
                f"a process that reads videos has died ({self._cause()}); "
                "if the machine is short of memory, use fewer workers"
            ) from error
        finally:
            if self._current is run:
                self.close()

    def _results(self, items: Iterable[Item]) -> Iterator[Result]:
        waiting: deque[Connection] = deque()
        for number, item in enumerate(items):
            pipe = self._pipes[number % self._count]
            ready = _receive(waiting.popleft()) if len(waiting) == self._count else None
            pipe.send(item)  # before the caller gets its result, so that the worker goes on meanwhile
            waiting.append(pipe)
            if ready is not None:
                yield ready
        while waiting:
            yield _receive(waiting.popleft())

    def close(self) -> None:
        """End the processes; the next `run` starts new ones."""
        for process in self._processes:
            process.kill()
        for process, pipe in zip(self._processes, self._pipes):
            process.join()
            pipe.close()
        self._processes, self._pipes, self._current = [], [], None

    def __del__(self) -> None:
        self.close()

    def _cause(self) -> str:
        wait([process.sentinel for process in self._processes], timeout=5)
        for process in self._processes:
            process.join(0.1)  # its pipes are closed a moment before it has an exit code
        codes = [process.exitcode for process in self._processes if process.exitcode is not None]
        return f"exit code {codes[0]}" if codes else "it no longer answers"

    def _start(self) -> None:
        context = get_context("spawn")
        resource_tracker.ensure_running()  # starting it later would undo the mask
        # Processes inherit the mask of blocked signals: so even one that is still starting ignores Ctrl-C.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGUSR1})
        try:
            for _ in range(self._count):
                own_end, child_end = context.Pipe()
                process = context.Process(target=_serve, args=(self._work, child_end), daemon=True)
                process.start()
                child_end.close()
                self._processes.append(process)
                self._pipes.append(own_end)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)


_open: "weakref.WeakSet[WorkerPool[Any, Any]]" = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """Close all pools before multiprocessing's own exit, which would wait for processes that ignore SIGTERM."""
    for workers in list(_open):
        workers.close()


def _serve(work: Callable[[Any], Any], pipe: Connection) -> None:
    """Work until the other end of the pipe is gone."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    try:
        while True:
            item = pipe.recv()
            try:
                result = work(item)
            except AutovidError as error:
                result = error
            pipe.send(result)
    except (EOFError, OSError):
        return


def _receive(pipe: Connection) -> Any:
    result = pipe.recv()
    if isinstance(result, AutovidError):
        raise result
    return result
