"""The one loop that drives searching and training: step, log, show, save, stop, go on; and the signals that stop it.

Ctrl-C, SIGTERM and SIGUSR1: the first asks the loop to stop after the step, the second stops it at once. SIGUSR1 is
what batch systems (SLURM: --signal) send before they take the machine away.
"""

import contextlib
import json
import math
import os
import signal
import threading
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar

import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter

from autovid import __version__, distributed
from autovid.errors import AutovidError, ConfigError, RunError
from autovid.fileio import explained, write_all
from autovid.run.directory import RunDirectory
from autovid.run.progress import Progress
from autovid.run.task import Task, seed_step

ECHO = 5.0  # seconds in which workers take a second signal for the first one: launchers pass on what all have heard


class Interrupted(AutovidError):
    """The user or the system stopped the run; exit code 130 (Ctrl-C), 143 (SIGTERM) or 138 (SIGUSR1 on Linux)."""

    everywhere = True  # workers stop together

    def __init__(self, signum: int, message: str) -> None:
        super().__init__(message)
        self.signal = signum
        self.exit_code = 128 + signum

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.signal, str(self))


class StopRequest:
    """A context in which signals wait for the end of the step: `signal` is the first one that came, or None.

    While `at_once` is set, they do not wait: the step is given up, since there is nothing to save.

    Outside the main thread, where Python allows no handlers, only `ask_to_stop` reaches it.
    """

    active: ClassVar[list["StopRequest"]] = []

    def __init__(self) -> None:
        self.signal: int | None = None
        self.at_once = False
        self._pid = os.getpid()
        self._since = 0.0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        self.active.append(self)
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
                if signal.getsignal(number) is not signal.SIG_IGN:  # nohup and background jobs mean it
                    self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        self.active.remove(self)
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:
            self._handle_in_child(number)
        elif self.signal is not None:
            if distributed.size() > 1 and time.monotonic() - self._since < ECHO:
                return
            raise KeyboardInterrupt  # not an Exception: no handler of a broken video may swallow it
        else:
            self.ask(number)
            if self.at_once:
                raise KeyboardInterrupt
            with contextlib.suppress(OSError):  # print() is not safe inside a handler
                os.write(2, b"\nstopping after this step; once more to stop at once\n")

    def ask(self, number: int) -> None:
        """Ask to stop as this signal would."""
        if self.signal is None:
            self.signal, self._since = number, time.monotonic()

    def _handle_in_child(self, number: int) -> None:
        """End a forked loader worker on SIGTERM; let Ctrl-C pass, so that the step can be finished."""
        if number == signal.SIGTERM:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)


def ask_to_stop(number: int) -> None:
    """Ask every loop of this process to stop after its step, as signal `number` would; any thread may call it."""
    for request in [*StopRequest.active]:
        request.ask(number)


@dataclass(frozen=True)
class TaskOutcome:
    """A finished task: it went from step `first` (0, or the step of the checkpoint) to `steps` in `seconds`.

    `steps` are fewer than planned where the task ended early.
    """

    first: int
    steps: int
    seconds: float
    metrics: dict[str, float]  # of the last step done now; empty if there was nothing left to do


def run_task(
    task: Task,
    run: RunDirectory,
    *,
    seed: int,
    checkpoint_every: int | timedelta = timedelta(minutes=5),
    progress: Progress | None = None,
    resume_command: str = "",
) -> TaskOutcome:
    """Resume from the latest checkpoint of `run` if there is one and do the steps that are left.

    Saves every so many steps, or every so much time, after milestones, where the task is at its best, and at the end;
    asks for histograms and pictures at milestones alone: a picture may take as long as many steps.
    Raises Interrupted on Ctrl-C or SIGTERM (`resume_command` is what the user is told to type then), RunError if the
    directory fails; whatever the task raises ends the run without a new checkpoint, as the state may be half changed.
    A signal waits for the end of the step, unless it is the first one: then there is nothing to save, and it stops at
    once. Seeds the global random state at every step.

    Workers (autovid.distributed) do every step together and stop after the same one, whichever of them is asked to;
    rank 0 alone reads and writes the directory, and the others have one that is not locked.
    """
    if isinstance(checkpoint_every, int) and checkpoint_every < 1:
        raise ConfigError(f"a checkpoint every {checkpoint_every} steps is not possible; give 1 or more")
    loop = _TaskLoop(task, run, seed, checkpoint_every, progress or Progress(), resume_command)
    go_on = f". Go on with: {resume_command}" if resume_command else ""
    with StopRequest() as stop:
        try:
            outcome = loop.go(stop)
        except KeyboardInterrupt:
            number = stop.signal or signal.SIGINT
            raise Interrupted(number, f"stopped at once; {loop.saved_text()}{go_on}") from None
    if loop.signal:
        where = f"stopped after step {outcome.steps} of {task.steps}; {loop.saved_text()}{go_on}"
        raise Interrupted(loop.signal, where)
    return outcome


@dataclass
class _TaskLoop:
    task: Task
    run: RunDirectory
    seed: int
    checkpoint_every: int | timedelta
    progress: Progress
    command: str
    done: int = 0
    signal: int = 0  # that any of the workers was asked to stop by
    saved: int | None = None
    saved_at: float = field(default_factory=time.monotonic)
    metrics: dict[str, float] = field(default_factory=dict)

    def saved_text(self) -> str:
        return "nothing saved yet" if self.saved is None else f"saved at step {self.saved}"

    def go(self, stop: StopRequest) -> TaskOutcome:
        first, began = self.resume(), time.monotonic()
        if first == self.task.steps or self.task.ended():
            return TaskOutcome(first, first, 0.0, {})
        workers = f", {distributed.size()} workers" if distributed.size() > 1 else ""
        self.log(f"step {first} of {self.task.steps}: starting{workers}")
        if self.command:
            self.log(f"goes on with: {self.command}")
        try:
            with MetricsLog(self.run, first) if self.run.locked else contextlib.nullcontext() as log:
                if self.run.locked:
                    self.progress.start(self.task.steps, first, self.task.status())
                while not self.asked_to_stop(stop) and not self.over():
                    self.one_step(log, stop, nothing_done=self.done == first)
                    if self.due():
                        self.save(log)
                if self.done > first and self.saved != self.done:
                    self.save(log)
        except BaseException as error:
            with contextlib.suppress(RunError):  # the disk may be what failed
                self.log(f"step {self.done}: {type(error).__name__}: {error}")
            raise
        finally:
            self.progress.close()
        end = "stopped by a signal" if self.signal else "ended early" if self.done < self.task.steps else "finished"
        self.log(f"step {self.done} of {self.task.steps}: {end}")
        return TaskOutcome(first, self.done, time.monotonic() - began, self.metrics)

    def resume(self) -> int:
        checkpoint = distributed.broadcast_from_rank0(lambda: self.run.latest(self.note))
        if checkpoint is not None:
            if checkpoint.step > self.task.steps:
                raise RunError(f"{self.run.path} is at step {checkpoint.step}, past the end at {self.task.steps}")
            begun_with = self.run.config["autovid"]
            if begun_with != __version__:
                self.note(f"begun with autovid {begun_with}, going on with {__version__}: the result may differ")
            self.task.load(checkpoint.state)
            self.done = self.saved = checkpoint.step
        return self.done

    def log(self, line: str) -> None:
        if self.run.locked:
            self.run.log(line)

    def note(self, line: str) -> None:
        self.log(line)
        if self.run.locked:
            self.progress.note(line)

    def asked_to_stop(self, stop: StopRequest) -> bool:
        self.signal = distributed.largest([stop.signal or 0])[0]
        return self.signal > 0

    def one_step(self, log: "MetricsLog | None", stop: StopRequest, nothing_done: bool) -> None:
        seed_step(self.seed, self.done)
        stop.at_once = nothing_done and distributed.size() == 1  # a first step of hours may be why one stops
        try:
            self.metrics = self.task.step(self.done)
        finally:
            stop.at_once = False
        if log is not None:
            log.write(self.done, self.metrics)
            if learned := self.task.probabilities(self.done):
                log.probabilities(self.done, learned)
            if self.task.milestone(self.done + 1):
                log.pictures(self.done, self.task.histograms(), self.task.images())
        self.done += 1
        for line in self.task.notices():
            self.note(line)
        if log is not None:
            self.progress.update(self.done, self.task.status(), self.metrics)

    def over(self) -> bool:
        return self.done == self.task.steps or self.task.ended()

    def due(self) -> bool:
        if self.over() or self.task.milestone(self.done) or self.task.best() == self.done:
            return True
        if isinstance(self.checkpoint_every, timedelta):
            late = time.monotonic() - self.saved_at >= self.checkpoint_every.total_seconds()
            return distributed.largest([late and distributed.is_rank0()])[0] > 0  # clocks differ
        return self.done % self.checkpoint_every == 0

    def save(self, log: "MetricsLog | None") -> None:
        if log is not None:
            log.sync()
            keep, best = self.task.milestone(self.done), self.task.best()
            self.run.save(self.done, self.task.state(), keep=keep, best=best)
        self.saved, self.saved_at = self.done, time.monotonic()


class MetricsLog:
    """The logs of a run, opened at step `first`: records of it and later ones, and a torn last line, are cut off."""

    def __init__(self, run: RunDirectory, first: int) -> None:
        self._path, self._first = run.path, first
        self._files: dict[str, _JsonLines] = {}
        self._file("metrics.jsonl")
        if (run.path / "probabilities.jsonl").exists():  # a run without probabilities never gets one
            self._file("probabilities.jsonl")
        with self._explained():
            self._board = SummaryWriter(str(run.path / "tensorboard"), purge_step=first, flush_secs=10)

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            os.close(file.fd)
        with self._explained():
            self._board.close()

    def write(self, step: int, metrics: dict[str, float]) -> None:
        """Log the scalars of step `step` (from 0); a value that is not finite becomes null in the file."""
        assert not {"step", "time"} & set(metrics), "names of the log itself"
        values = {name: float(value) for name, value in metrics.items()}
        record = {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._file("metrics.jsonl").write({"step": step, **record, "time": round(time.time(), 3)})
        with self._explained():
            for name, value in values.items():
                self._board.add_scalar(name, value, step)

    def probabilities(self, step: int, learned: dict[str, list[float]]) -> None:
        """Log the distributions of the task after step `step`."""
        self._file("probabilities.jsonl").write({"step": step, **learned})

    def pictures(
        self, step: int, tensors: dict[str, torch.Tensor], images: dict[str, np.ndarray[Any, np.dtype[np.uint8]]]
    ) -> None:
        """Log histograms and pictures (height, width, 3) to TensorBoard."""
        with self._explained():
            for name, tensor in tensors.items():
                self._board.add_histogram(name, tensor, step)
            for name, image in images.items():
                self._board.add_image(name, image, step, dataformats="HWC")

    def sync(self) -> None:
        """Wait until the disk has every record: a checkpoint must not be ahead of its log."""
        for file in self._files.values():
            with explained(f"cannot write {file.path}"):
                os.fsync(file.fd)
        with self._explained():
            self._board.flush()

    def _file(self, name: str) -> "_JsonLines":
        if name not in self._files:
            self._files[name] = _JsonLines(self._path / name, self._first)
        return self._files[name]

    def _explained(self) -> AbstractContextManager[None]:
        return explained(f"cannot write {self._path / 'tensorboard'}")


class _JsonLines:
    """A file of JSON objects, opened at step `first`: those of it and later ones, and a torn last line, are cut off."""

    def __init__(self, path: Path, first: int) -> None:
        self.path = path
        with explained(f"cannot write {path}"):
            self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            with path.open("rb") as lines:
                os.ftruncate(self.fd, _end_of_records(lines, first))

    def write(self, record: dict[str, Any]) -> None:
        with explained(f"cannot write {self.path}"):
            write_all(self.fd, (json.dumps(record) + "\n").encode())


def _end_of_records(lines: Iterable[bytes], first: int) -> int:
    """Return the number of bytes up to and with the last whole record of a step before `first`."""
    end = position = 0
    for line in lines:
        position += len(line)
        try:
            if line.endswith(b"\n") and json.loads(line)["step"] < first:
                end = position
        except (ValueError, KeyError, TypeError):
            continue
    return end
