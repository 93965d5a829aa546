"""The run directory: runs/NAME/{config.yaml, log.txt, metrics.jsonl, ..., checkpoints/step-000123/}.

One process at a time writes it: a kernel lock, which ends with the process however it ends. config.yaml has the
configuration of the run, which a command that goes on is compared with.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from autovid import __version__, distributed
from autovid.config import dump_yaml, read_yaml
from autovid.errors import ConfigError, RunError, did_you_mean
from autovid.fileio import explained, write_all, write_atomic
from autovid.plugins import plugin_records, require_plugins
from autovid.run.checkpoint import DamagedError, discard, read_checkpoint, read_manifest, write_checkpoint
from autovid.run.task import TaskState

NEWEST_KEPT = 2
_LOCK = ".lock"


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint, read into memory: the state after `step` steps. `best`: the step of the best so far."""

    step: int
    keep: bool
    state: TaskState
    best: int | None = None


class RunDirectory:
    """A run on disk. `create_or_resume` locks it until `close`; `open` only reads.

    `config` is the content of config.yaml: {"autovid": version, "kind": kind, ...}. `locked`: this object may write.
    """

    def __init__(self, path: Path, config: dict[str, Any], lock: "_RunLock | None") -> None:
        self.path, self.config, self._lock = path, config, lock
        self.kind: str = config["kind"]
        self._checkpoints = path / "checkpoints"

    @classmethod
    def open(cls, path: str | Path) -> "RunDirectory":
        """Open an existing run to read from, also while it is running.

        Raises RunError if it is not one, ConfigError if it was made with plugins that are not loaded.
        """
        path = Path(path)
        if not (path / "config.yaml").is_file():
            why = "is not a run directory of autovid (no config.yaml in it)" if path.exists() else "does not exist"
            like = did_you_mean(path.name, (file.parent.name for file in path.parent.glob("*/config.yaml")))
            raise RunError(f"{path} {why}; {like}give one such as runs/NAME")
        config = read_config(path / "config.yaml")
        require_plugins(config.get("plugins", {}), f"run {path}")
        return cls(path, config, None)

    @classmethod
    def create_or_resume(
        cls, path: str | Path, config: dict[str, Any], *, kind: str, resume: bool = False
    ) -> "RunDirectory":
        """Create a run, or with `resume` go on with the one at `path`; lock it. `config`: plain values and structs.

        Raises RunError, and touches nothing, if the directory is in use, is not a run, was made with another
        configuration (the keys are named), exists without `resume` or is missing with it.
        """
        path = Path(path)
        settings = full_config(config, kind)
        if resume and not path.is_dir():
            raise RunError(f"{path}: no run to resume there; check the name, or leave --resume out to start it")
        with explained(f"cannot make {path}"):
            _refuse_foreign(path)
            path.mkdir(parents=True, exist_ok=True)
        lock = _RunLock(path / _LOCK)
        try:
            with explained(f"cannot set up {path}"):
                run = cls(path, _set_up(path, settings, config, resume), lock)
                run._clean_up()
                return run
        except BaseException:
            lock.release()
            raise

    def __enter__(self) -> "RunDirectory":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the lock."""
        if self._lock is not None:
            self._lock.release()
        self._lock = None

    @property
    def locked(self) -> bool:
        """True if this object may write into the directory."""
        return self._lock is not None

    def in_use(self) -> bool:
        """Tell whether a process works in the directory now."""
        if self.locked or not (self.path / _LOCK).is_file():
            return self.locked
        try:
            _RunLock(self.path / _LOCK, note=False).release()
        except RunError:
            return True
        return False

    def command(self) -> str:
        """Return the command that goes on, as the log has it; empty where it has none."""
        try:
            text = (self.path / "log.txt").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
        return text.rpartition(" goes on with: ")[2].partition("\n")[0] if " goes on with: " in text else ""

    def log(self, line: str) -> None:
        """Append a line with the time to log.txt."""
        assert self.locked, "opened for reading only"
        text = f"{time.strftime('%Y-%m-%d %H:%M:%S')} {' '.join(line.splitlines())}\n"
        with explained(f"cannot write {self.path / 'log.txt'}"):
            fd = os.open(self.path / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
            try:
                write_all(fd, text.encode())
            finally:
                os.close(fd)

    def steps(self) -> list[int]:
        """Return the steps that have a checkpoint folder, valid or not, ascending."""
        names = os.listdir(self._checkpoints) if self._checkpoints.is_dir() else []
        return sorted(int(name[5:]) for name in names if re.fullmatch(r"step-\d{6,}", name))

    def record(self, key: str, value: Any) -> None:
        """Set a key of config.yaml, one of those that may change while a run goes on (`FREE`)."""
        assert self.locked, "opened for reading only"
        assert key in FREE, "else the checkpoints would be another run's"
        self.config = {**self.config, key: value}
        with explained(f"cannot write {self.path / 'config.yaml'}"):
            write_atomic(self.path / "config.yaml", dump_yaml(self.config))

    def save(self, step: int, state: TaskState, *, keep: bool = False, best: int | None = None) -> Path:
        """Save the state after `step` steps, then delete the earlier ones.

        What stays are the newest two, those that these two hold for the `best`, and those saved with `keep`.
        Raises RunError if the disk refuses; the earlier checkpoints are then intact.
        """
        assert self.locked, "opened for reading only"
        with explained(f"the checkpoint of step {step} could not be saved in {self.path}"):
            path = write_checkpoint(self._checkpoints, step, state, config_hash(self.config), keep, best)
            until_now = [old for old in self.steps() if old <= step]
            bests = {self._best_of(new) for new in until_now[-NEWEST_KEPT:]}
            for old in until_now[:-NEWEST_KEPT]:
                if old not in bests and not self._is_kept(old):
                    discard(self._folder(old))
        return path

    def kept(self) -> list[int]:
        """Return the steps whose checkpoints were saved with `keep`, ascending."""
        return [step for step in self.steps() if self._is_kept(step)]

    def best(self) -> int | None:
        """Return the step of the best checkpoint as the newest one knows it, or of the newest; None without any."""
        steps = self.steps()
        best = next((best for step in reversed(steps) if (best := self._best_of(step)) is not None), None)
        return best if best is not None else steps[-1] if steps else None

    def load(self, step: int) -> Checkpoint:
        """Read the checkpoint of one step. Raises RunError if it is missing or damaged."""
        try:
            return self._read(step)
        except DamagedError as error:
            raise RunError(f"{self._folder(step)} is not a valid checkpoint: {error}") from error

    def latest(self, notice: Callable[[str], None] = lambda line: print(line, file=sys.stderr)) -> Checkpoint | None:
        """Read the highest valid checkpoint, or None if none was saved; damaged ones are skipped with a notice.

        Raises RunError if all checkpoints are damaged.
        """
        damaged: dict[int, str] = {}
        steps = self.steps()
        for step in reversed(steps):
            try:
                checkpoint = self._read(step)
            except DamagedError as error:
                if self._folder(step).exists():  # else the process that runs here has just deleted it
                    damaged[step] = f"checkpoint step-{step:06d}: {error}"
                continue
            for skipped, reason in damaged.items():
                notice(f"{reason}; going back to step {step}")
                self._set_aside(skipped)
            return checkpoint
        if damaged:
            why = "; ".join(damaged.values())
            raise RunError(f"{self.path} has no valid checkpoint ({why}); start again with another -o")
        return self.latest(notice) if steps != self.steps() else None

    def _clean_up(self) -> None:
        """Remove what a killed process left behind."""
        self._checkpoints.mkdir(exist_ok=True)
        for folder in self._checkpoints.glob(".tmp-*"):
            shutil.rmtree(folder, ignore_errors=True)
        for file in self.path.glob(".*.tmp"):
            file.unlink(missing_ok=True)
        log = self.path / "log.txt"
        if log.exists() and log.read_bytes()[-1:] not in (b"", b"\n"):  # a kill has torn the last line
            with log.open("ab") as lines:
                lines.write(b"\n")

    def _folder(self, step: int) -> Path:
        return self._checkpoints / f"step-{step:06d}"

    def _is_kept(self, step: int) -> bool:
        try:
            return read_manifest(self._folder(step)).keep
        except DamagedError:
            return False

    def _best_of(self, step: int) -> int | None:
        try:
            return read_manifest(self._folder(step)).best
        except DamagedError:
            return None

    def _read(self, step: int) -> Checkpoint:
        manifest, state = read_checkpoint(self._folder(step))
        if manifest.config != config_hash(self.config):
            raise RunError(f"{self._folder(step)} does not belong to {self.path / 'config.yaml'}; restore that file")
        return Checkpoint(step, manifest.keep, state, manifest.best)

    def _set_aside(self, step: int) -> None:
        """Rename a damaged checkpoint, so that it is never counted as one of the newest."""
        if self.locked:
            target = self._checkpoints / f"damaged-{step:06d}"
            shutil.rmtree(target, ignore_errors=True)
            with explained(f"cannot rename {self._folder(step)}"):
                os.rename(self._folder(step), target)


@contextlib.contextmanager
def shared_run(path: str | Path, config: dict[str, Any], *, kind: str, resume: bool = False) -> Iterator[RunDirectory]:
    """Call `RunDirectory.create_or_resume` on rank 0; other workers get a directory that is not `locked`.

    They need not see its disk. An error of rank 0 is raised on all.
    """
    locked: list[RunDirectory] = []

    def lock_on_rank0() -> dict[str, Any]:
        locked.append(RunDirectory.create_or_resume(path, config, kind=kind, resume=resume))
        return locked[0].config

    settings = distributed.broadcast_from_rank0(lock_on_rank0)
    with locked[0] if locked else RunDirectory(Path(path), settings, None) as run:
        yield run


def advice(run: RunDirectory) -> str:
    """Say what to do about a run that has saved nothing: wait for one that is at work, or the command that goes on."""
    if run.in_use():
        return "it is at work: it saves every few minutes"
    return f"go on with: {run.command() or 'the command that began it, and --resume'}"


class _RunLock:
    """A lock on the file `path` until `release`. Raises RunError, naming the process, if another one holds it."""

    def __init__(self, path: Path, note: bool = True) -> None:
        with explained(f"cannot lock {path}"):
            self._file = open(path, "a+b", buffering=0)  # noqa: SIM115 - open is what holds the lock
            self.release = self._file.close
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._file.seek(0)
                holder = self._file.read(200).decode(errors="replace").strip() or "another process"
                raise RunError(f"{path.parent} is in use by {holder}; wait for it, or choose another -o") from None
            if note:
                self._file.truncate(0)
            self._file.write(b"" if not note else f"process {os.getpid()} on {os.uname().nodename}\n".encode())
        _locks.add(self)


_locks: "weakref.WeakSet[_RunLock]" = weakref.WeakSet()
# A forked loader worker that outlives a killed run must not keep the run directory locked.
os.register_at_fork(after_in_child=lambda: [lock.release() for lock in list(_locks)])


def _refuse_foreign(path: Path) -> None:
    names = os.listdir(path) if path.exists() else []
    if "config.yaml" in names:
        read_config(path / "config.yaml")
    elif any(name != _LOCK and not re.fullmatch(r"\..*\.tmp", name) for name in names):
        raise RunError(f"{path} is not a run directory and not empty; choose another -o")


def _set_up(path: Path, settings: dict[str, Any], config: dict[str, Any], resume: bool) -> dict[str, Any]:
    """Write config.yaml of a new run, or compare that of an existing one; return its content.

    `settings` is `config` as the file gives it back.
    """
    _refuse_foreign(path)
    file = path / "config.yaml"
    if not file.exists():  # also after a process that was killed before it wrote one
        (path / "checkpoints").mkdir(exist_ok=True)
        write_atomic(file, dump_yaml(settings))
    elif not resume:
        raise RunError(f"{path} holds a run already; go on with --resume, or choose another -o")
    saved = read_config(file)
    if different := differences(with_defaults(saved, config), with_defaults(settings, config)):
        raise RunError(f"{path} was made with another configuration ({'; '.join(different)}); choose another -o")
    return saved


VERSIONS = ("autovid", "torch")  # keys that may differ between two halves of a run
# Those, what changes no result, what follows from the number of workers, and what a run was told after its beginning.
FREE = (*VERSIONS, "cache", "norm_clips", "prolonged")
_ABSENT = "(absent)"


def recorded_versions(config: dict[str, Any]) -> dict[str, str]:
    """Return the versions that a run was begun with; the first runs did not record torch's."""
    return {name: str(config[name]) for name in VERSIONS if name in config}


def full_config(config: dict[str, Any], kind: str) -> dict[str, Any]:
    """Return `config` as config.yaml gives it back (structs as mappings, tuples as lists), after versions and kind."""
    plugins = {"plugins": records} if (records := plugin_records()) else {}
    plain = json.loads(json.dumps(msgspec.to_builtins({**plugins, **config}, str_keys=True)))
    return {**dict(zip(VERSIONS, (__version__, version("torch")))), "kind": kind, **plain}


def read_config(path: Path) -> dict[str, Any]:
    """Read config.yaml. Raises RunError if it is not one of a run."""
    try:
        config = read_yaml(path).as_type(dict[str, Any])
    except ConfigError as error:
        raise RunError(f"{error} ({path.parent} is not a run directory of autovid, or this file is damaged)") from error
    if not {"kind", "autovid"} <= set(config):
        raise RunError(f"{path.parent} is not a run directory of autovid (config.yaml has no kind); choose another")
    return config


def config_hash(config: dict[str, Any]) -> str:
    """Return the sha256 of everything but the keys in FREE, which may differ between two halves of a run."""
    settings = {key: value for key, value in config.items() if key not in FREE}
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def with_defaults(recorded: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    """Return what config.yaml has `recorded`, with the defaults of settings that are not there.

    These are settings that autovid did not have at that time, or that are left out where they have their defaults.
    `config` has the settings as structs; of these, and of those in their fields, plain defaults are taken.
    """
    filled = dict(recorded)
    for key, value in config.items():
        if isinstance(value, msgspec.Struct) and isinstance(recorded.get(key), dict):
            known = {field.encode_name: field.default for field in msgspec.structs.fields(value)}
            own = {name: one for name, one in known.items() if one is not msgspec.NODEFAULT}
            inner = {field.encode_name: getattr(value, field.name) for field in msgspec.structs.fields(value)}
            own = {name: msgspec.to_builtins(one) for name, one in own.items()}
            filled[key] = with_defaults({**own, **recorded[key]}, inner)
    return filled


def differences(recorded: dict[str, Any], settings: dict[str, Any]) -> list[str]:
    """Return one "search.lr: 0.1 there, 0.05 now" for every key that differs, those in FREE left out."""
    saved, current = _flat(recorded), _flat(settings)
    keys = [key for key in {**saved, **current} if key not in FREE]
    pairs = [(key, saved.get(key, _ABSENT), current.get(key, _ABSENT)) for key in keys]
    return [f"{key}: {old} there, {new} now" for key, old, new in pairs if old != new]


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict) or not value:
        return {prefix: value}
    parts = (_flat(item, f"{prefix}.{key}" if prefix else str(key)) for key, item in value.items())
    return {key: item for part in parts for key, item in part.items()}
