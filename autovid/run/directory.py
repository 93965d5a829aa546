"""The run directory: runs/NAME/{config.yaml, log.txt, metrics.jsonl, ..., checkpoints/step-000123/}."""

import os
import re
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autovid.errors import RunError
from autovid.fileio import explained, write_all
from autovid.run.checkpoint import DamagedError, discard, read_checkpoint, read_manifest, write_checkpoint
from autovid.run.config_file import config_hash, differences, full_config, read_config, write_config
from autovid.run.lock import RunLock
from autovid.run.task import TaskState

NEWEST_KEPT = 2
_LOCK = ".lock"


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint, read into memory: the state after `step` steps."""

    step: int
    keep: bool
    state: TaskState


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr)


def _is_leftover(name: str) -> bool:
    return name == _LOCK or (name.startswith(".") and name.endswith(".tmp"))


class RunDirectory:
    """Made by `create`, `open` or `create_or_resume`; the first and last hold the lock until `close`.

    `config` is what config.yaml holds: {"autovid": version, "kind": kind, ...}.
    """

    def __init__(self, path: Path, config: dict[str, Any], lock: RunLock | None) -> None:
        self.path, self.config, self._lock = path, config, lock
        self.kind: str = config["kind"]
        self._checkpoints = path / "checkpoints"

    @classmethod
    def create(cls, path: str | Path, config: dict[str, Any], *, kind: str) -> "RunDirectory":
        """A new run in a missing or empty directory, locked. Raises RunError if there is anything in it."""
        return cls.create_or_resume(path, config, kind=kind, resume=False)

    @classmethod
    def open(cls, path: str | Path) -> "RunDirectory":
        """An existing run to read from, also while it is running. Raises RunError if it is not one."""
        path = Path(path)
        if not (path / "config.yaml").is_file():
            why = "is not a run directory of autovid (no config.yaml in it)" if path.exists() else "does not exist"
            raise RunError(f"{path} {why}; give one such as runs/NAME")
        return cls(path, read_config(path / "config.yaml"), None)

    @classmethod
    def create_or_resume(
        cls, path: str | Path, config: dict[str, Any], *, kind: str, resume: bool = False
    ) -> "RunDirectory":
        """A new run, or with `resume` the one at `path`, locked. `config` holds plain values and structs.

        Raises RunError, and touches nothing, if the directory is in use, is not a run, was made with another
        configuration (the keys are named), exists without `resume` or is missing with it.
        """
        path = Path(path)
        settings = full_config(config, kind)
        if resume and not path.is_dir():
            raise RunError(f"{path}: no run to resume there; check the name, or leave --resume out to start it")
        with explained(f"cannot make {path}"):
            cls._refuse_foreign(path)
            path.mkdir(parents=True, exist_ok=True)
        lock = RunLock(path / _LOCK)
        try:
            with explained(f"cannot set up {path}"):
                return cls._set_up(path, settings, lock, resume)
        except BaseException:
            lock.release()
            raise

    @staticmethod
    def _refuse_foreign(path: Path) -> None:
        names = [name for name in os.listdir(path) if not _is_leftover(name)] if path.exists() else []
        if "config.yaml" in names:
            read_config(path / "config.yaml")
        elif names:
            raise RunError(f"{path} is not a run directory and not empty; choose another -o")

    @classmethod
    def _set_up(cls, path: Path, settings: dict[str, Any], lock: RunLock, resume: bool) -> "RunDirectory":
        cls._refuse_foreign(path)
        file = path / "config.yaml"
        if not file.exists():  # also after a process that was killed before it wrote one
            (path / "checkpoints").mkdir(exist_ok=True)
            write_config(file, settings)
        elif not resume:
            raise RunError(f"{path} holds a run already; go on with --resume, or choose another -o")
        saved = read_config(file)
        different = differences(saved, settings)
        if different:
            raise RunError(f"{path} was made with another configuration ({'; '.join(different)}); choose another -o")
        run = cls(path, saved, lock)
        run._clean_up()
        return run

    def _clean_up(self) -> None:
        self._checkpoints.mkdir(exist_ok=True)
        for folder in self._checkpoints.glob(".tmp-*"):
            shutil.rmtree(folder, ignore_errors=True)
        for file in self.path.glob(".*.tmp"):
            file.unlink(missing_ok=True)
        log = self.path / "log.txt"
        if log.exists() and log.read_bytes()[-1:] not in (b"", b"\n"):  # a kill has torn the last line
            with log.open("ab") as lines:
                lines.write(b"\n")

    def __enter__(self) -> "RunDirectory":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Gives the directory free for others."""
        if self._lock is not None:
            self._lock.release()
        self._lock = None

    @property
    def locked(self) -> bool:
        """Whether this object may write into the directory."""
        return self._lock is not None

    def log(self, line: str) -> None:
        """Adds a line with the time to log.txt."""
        assert self.locked, "opened for reading only"
        text = f"{time.strftime('%Y-%m-%d %H:%M:%S')} {' '.join(line.splitlines())}\n"
        with explained(f"cannot write {self.path / 'log.txt'}"):
            fd = os.open(self.path / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
            try:
                write_all(fd, text.encode())
            finally:
                os.close(fd)

    def steps(self) -> list[int]:
        """The steps that have a checkpoint folder, valid or not, ascending."""
        names = os.listdir(self._checkpoints) if self._checkpoints.is_dir() else []
        return sorted(int(name[5:]) for name in names if re.fullmatch(r"step-\d{6,}", name))

    def _folder(self, step: int) -> Path:
        return self._checkpoints / f"step-{step:06d}"

    def save(self, step: int, state: TaskState, *, keep: bool = False) -> Path:
        """Saves the state after `step` steps; all but the newest two and those with `keep` are then deleted.

        Raises RunError if the disk refuses; the earlier checkpoints are then intact.
        """
        assert self.locked, "opened for reading only"
        with explained(f"the checkpoint of step {step} could not be saved in {self.path}"):
            path = write_checkpoint(self._checkpoints, step, state, config_hash(self.config), keep)
            self._prune(step)
        return path

    def _prune(self, newest: int) -> None:
        for step in [step for step in self.steps() if step <= newest][:-NEWEST_KEPT]:
            if not self._is_kept(step):
                discard(self._folder(step))

    def kept(self) -> list[int]:
        """The steps whose checkpoints were saved with `keep`, ascending."""
        return [step for step in self.steps() if self._is_kept(step)]

    def _is_kept(self, step: int) -> bool:
        try:
            return read_manifest(self._folder(step)).keep
        except DamagedError:
            return False

    def load(self, step: int) -> Checkpoint:
        """The checkpoint of one step. Raises RunError if it is missing or damaged."""
        try:
            return self._read(step)
        except DamagedError as error:
            raise RunError(f"{self._folder(step)} is not a valid checkpoint: {error}") from error

    def _read(self, step: int) -> Checkpoint:
        manifest, state = read_checkpoint(self._folder(step))
        if manifest.config != config_hash(self.config):
            raise RunError(f"{self._folder(step)} does not belong to {self.path / 'config.yaml'}; restore that file")
        return Checkpoint(step, manifest.keep, state)

    def latest(self, notice: Callable[[str], None] = _to_stderr) -> Checkpoint | None:
        """The highest valid checkpoint, or None if none was saved; damaged ones are skipped with a notice.

        Raises RunError if there are checkpoints and all are damaged.
        """
        damaged: dict[int, str] = {}
        steps = self.steps()
        for step in reversed(steps):
            try:
                found = self._read(step)
            except DamagedError as error:
                if self._folder(step).exists():  # else the process that runs here has just deleted it
                    damaged[step] = f"checkpoint step-{step:06d}: {error}"
                continue
            for skipped, reason in damaged.items():
                notice(f"{reason}; going back to step {step}")
                self._set_aside(skipped)
            return found
        if damaged:
            why = "; ".join(damaged.values())
            raise RunError(f"{self.path} has no valid checkpoint ({why}); start again with another -o")
        return self.latest(notice) if steps != self.steps() else None

    def _set_aside(self, step: int) -> None:
        """Renames a damaged checkpoint, so that it is never counted as one of the newest."""
        if self.locked:
            target = self._checkpoints / f"damaged-{step:06d}"
            shutil.rmtree(target, ignore_errors=True)
            with explained(f"cannot rename {self._folder(step)}"):
                os.rename(self._folder(step), target)
