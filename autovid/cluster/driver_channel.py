"""Messages between the processes of a cluster and the driver: lines to print, results, requests to stop.

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

POLL_SECONDS = 0.5


class DriverChannel:
    """A handle that travels to the processes of the cluster.

    Its actor is on the node of the process that creates it, so that it outlives the others.
    """

    def __init__(self) -> None:
        this_node = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._actor = _ChannelActor.options(scheduling_strategy=this_node).remote()  # type: ignore[attr-defined]

    def post(self, kind: str, content: Any) -> None:
        """Send a message to the driver, and wait until it has arrived."""
        self._call("post", kind, content)

    def take(self) -> list[tuple[str, Any]]:
        """Return all (kind, content) that have arrived since the last call, in their order."""
        return list(self._call("take"))

    def begin(self, name: str) -> int:
        """Count the start of a process; return the number of its earlier starts."""
        return int(self._call("begin", name))

    def end(self) -> None:
        """Count the end of a process that has called `begin`."""
        self._call("end")

    def at_rest(self) -> bool:
        """Return True if all processes were asked to stop, and have ended."""
        return bool(self._call("at_rest"))

    def stop(self, signal: int) -> None:
        """Ask all processes to save and stop, as this signal would."""
        self._call("stop", signal)

    def stopped(self) -> int:
        """Return the signal that all processes were asked to stop by, or 0."""
        return int(self._call("stopped"))

    def _call(self, method: str, *arguments: Any) -> Any:
        return ray.get(getattr(self._actor, method).remote(*arguments))

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        """Send the output of this process to the driver, and obey its requests to stop, inside the context."""
        from autovid.run.loop import ask_to_stop

        done = threading.Event()

        def listen() -> None:
            while not done.wait(POLL_SECONDS):
                if number := self.stopped():
                    ask_to_stop(number)

        threading.Thread(target=listen, daemon=True).start()
        out, err = _LineStream(self, "stdout"), _LineStream(self, "stderr")
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                yield
        finally:
            done.set()
            for stream in (out, err):
                stream.end()


@ray.remote(num_cpus=0)
class _ChannelActor:
    """State of a channel. Its methods are those of `DriverChannel`, which says what they do."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, Any]] = []
        self.starts: dict[str, int] = {}
        self.signal = self.running = 0

    def post(self, kind: str, content: Any) -> None:
        self.messages.append((kind, content))

    def take(self) -> list[tuple[str, Any]]:
        messages, self.messages = self.messages, []
        return messages

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


class _LineStream(io.TextIOBase):
    """A stream that posts whole lines."""

    def __init__(self, channel: DriverChannel, kind: str) -> None:
        self._channel, self._kind, self._rest = channel, kind, ""

    def write(self, text: str) -> int:
        whole, newline, self._rest = (self._rest + text).rpartition("\n")
        if newline:
            self._channel.post(self._kind, whole + newline)
        return len(text)

    def writable(self) -> bool:
        return True

    def end(self) -> None:
        """Post a last line without newline."""
        if self._rest:
            self._channel.post(self._kind, self._rest + "\n")


def relay(channel: DriverChannel, work: Callable[[], Any]) -> Iterator[tuple[str, Any]]:
    """Run `work` in a thread; print arriving lines, pass on Ctrl-C and SIGTERM, and yield all other messages.

    The last message is ("done", result of `work`); its error is raised here. A second signal raises KeyboardInterrupt.
    """
    from autovid.run.loop import StopRequest

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
                channel.stop(stop.signal)
                passed_on = True
            for kind, content in channel.take():
                if kind in ("stdout", "stderr"):
                    print(content, end="", file=getattr(sys, kind), flush=True)
                else:
                    yield kind, content
            if not alive:
                break
            time.sleep(POLL_SECONDS)
    if answer[1] is not None:
        raise answer[1]
    yield "done", answer[0]


def enter_folder(folder: str) -> None:
    """Change to the user's folder, so that relative paths mean the same; Ray puts its processes elsewhere."""
    with contextlib.suppress(OSError):  # another machine may not have it: absolute paths are needed then
        os.chdir(folder)
