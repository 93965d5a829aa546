"""What the processes of a cluster and the one that the user sees say to each other: lines to print, results, "stop".

Ray's own forwarding of logs marks every line with a process and drops what repeats. This is one small actor.
"""

import contextlib
import io
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

EVERY = 0.5  # seconds between two looks into the mailbox


@ray.remote(num_cpus=0)
class _Mailbox:
    def __init__(self) -> None:
        self.letters: list[tuple[str, Any]] = []
        self.starts: dict[str, int] = {}
        self.signal = self.running = 0

    def post(self, kind: str, content: Any) -> None:
        self.letters.append((kind, content))

    def take(self) -> list[tuple[str, Any]]:
        letters, self.letters = self.letters, []
        return letters

    def begin(self, name: str) -> int:
        self.starts[name] = self.starts.get(name, 0) + 1
        self.running += 1
        return self.starts[name] - 1

    def end(self) -> None:
        self.running -= 1

    def at_rest(self) -> bool:
        return self.signal > 0 and self.running <= 0

    def stop(self, signal: int) -> None:
        self.signal = signal

    def stopped(self) -> int:
        return self.signal


class Mailbox:
    """A handle that travels to the processes of the cluster. The mailbox is on the node of whoever makes it, so that it
    outlives the others."""

    def __init__(self) -> None:
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._actor = _Mailbox.options(scheduling_strategy=here).remote()  # type: ignore[attr-defined]

    def post(self, kind: str, content: Any) -> None:
        """Sends something to the user's process, and waits until it is there."""
        ray.get(self._actor.post.remote(kind, content))

    def take(self) -> list[tuple[str, Any]]:
        """All (kind, content) that have come since the last time, in their order."""
        letters: list[tuple[str, Any]] = ray.get(self._actor.take.remote())
        return letters

    def begin(self, name: str) -> int:
        """Notes that something begins; returns how often it has begun before."""
        before: int = ray.get(self._actor.begin.remote(name))
        return before

    def end(self) -> None:
        """Notes that something that has begun has ended."""
        ray.get(self._actor.end.remote())

    def at_rest(self) -> bool:
        """Whether everything was asked to stop, and has ended."""
        answer: bool = ray.get(self._actor.at_rest.remote())
        return answer

    def stop(self, signal: int) -> None:
        """Asks everything to save and stop, as this signal would."""
        ray.get(self._actor.stop.remote(signal))

    def stopped(self) -> int:
        """The signal that everything was asked to stop by, or 0."""
        signal: int = ray.get(self._actor.stopped.remote())
        return signal

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        """Inside, in a process of the cluster: what it prints goes to the user, and a stop comes from there."""
        from autovid.run.signals import ask_to_stop

        done = threading.Event()

        def listen() -> None:
            while not done.wait(EVERY):
                if number := self.stopped():
                    ask_to_stop(number)

        threading.Thread(target=listen, daemon=True).start()
        out, err = _Lines(self, "stdout"), _Lines(self, "stderr")
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                yield
        finally:
            done.set()
            for stream in (out, err):
                stream.end()


class _Lines(io.TextIOBase):
    """A stream that posts whole lines."""

    def __init__(self, mailbox: Mailbox, kind: str) -> None:
        self._mailbox, self._kind, self._rest = mailbox, kind, ""

    def write(self, text: str) -> int:
        whole, newline, self._rest = (self._rest + text).rpartition("\n")
        if newline:
            self._mailbox.post(self._kind, whole + newline)
        return len(text)

    def writable(self) -> bool:
        return True

    def end(self) -> None:
        """Posts what has no newline yet."""
        if self._rest:
            self._mailbox.post(self._kind, self._rest + "\n")


def attend(mailbox: Mailbox, work: Callable[[], Any]) -> Iterator[tuple[str, Any]]:
    """Runs `work` in a thread; meanwhile prints what comes, passes on Ctrl-C and SIGTERM, and yields other letters.

    Last comes ("done", what `work` returned); what it raised is raised here. A second signal raises KeyboardInterrupt.
    """
    from autovid.run.signals import StopRequest

    answer: list[Any] = [None, None]

    def run() -> None:
        try:
            answer[0] = work()
        except BaseException as error:
            answer[1] = error

    thread = threading.Thread(target=run, daemon=True)
    with StopRequest() as stop:
        thread.start()
        passed_on = False
        while True:
            alive = thread.is_alive()
            if stop.signal and not passed_on:
                mailbox.stop(stop.signal)
                passed_on = True
            for kind, content in mailbox.take():
                if kind in ("stdout", "stderr"):
                    print(content, end="", file=getattr(sys, kind), flush=True)
                else:
                    yield kind, content
            if not alive:
                break
            time.sleep(EVERY)
    if answer[1] is not None:
        raise answer[1]
    yield "done", answer[0]


def stay_in(folder: str) -> None:
    """Goes where the user is, so that relative paths mean the same; Ray puts its processes elsewhere."""
    with contextlib.suppress(OSError):  # another machine may not have it: absolute paths are needed then
        os.chdir(folder)
