import os
import signal
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import pytest
from toy import CONFIG, start

import autovid
from autovid.config import dump_yaml
from autovid.errors import RunError
from autovid.run import RunDirectory, write_atomic


def contents(path: Path) -> dict[str, tuple[bytes | None, float]]:
    return {str(p): (p.read_bytes() if p.is_file() else None, p.stat().st_mtime) for p in [path, *path.rglob("*")]}


def test_the_configuration_comes_back_with_kind_and_versions(tmp_path: Path) -> None:
    config = {"flops": (1.37, 1.43), "tiny": 1e-05, "name": "yes", "range": "1:30", "none": None, "empty": {}}
    RunDirectory.create_or_resume(tmp_path / "run", config, kind="train").close()
    run = RunDirectory.open(tmp_path / "run")
    assert run.kind == "train"
    assert run.config["autovid"] == autovid.__version__
    assert run.config["torch"] == version("torch")
    assert {key: run.config[key] for key in config} == {**config, "flops": [1.37, 1.43]}
    RunDirectory.create_or_resume(tmp_path / "run", config, kind="train", resume=True).close()


def test_an_existing_run_is_refused_without_resume(tmp_path: Path) -> None:
    start(tmp_path / "run").close()
    with pytest.raises(RunError, match=r"--resume, or choose another -o"):
        start(tmp_path / "run")


def test_a_missing_run_is_refused_with_resume(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run to resume"):
        start(tmp_path / "rnu", resume=True)
    assert not (tmp_path / "rnu").exists()


def test_a_run_that_is_missing_is_told_of_one_with_a_name_like_it(tmp_path: Path) -> None:
    RunDirectory.create_or_resume(tmp_path / "search", {}, kind="search").close()
    with pytest.raises(RunError, match=r"does not exist; did you mean search\? give one such as runs/NAME"):
        RunDirectory.open(tmp_path / "serch")
    with pytest.raises(RunError, match=r"does not exist; give one such as runs/NAME"):
        RunDirectory.open(tmp_path / "other")


@pytest.mark.parametrize("leftovers", [[], [".lock"], [".lock", ".config.yaml.77.tmp"]])
def test_a_run_killed_before_it_had_a_configuration_starts_anew(tmp_path: Path, leftovers: list[str]) -> None:
    (tmp_path / "run").mkdir()
    for name in leftovers:
        (tmp_path / "run" / name).touch()
    for resume in (True, True):
        with start(tmp_path / "run", resume=resume) as run:
            assert run.latest() is None


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("config", [None, "lr: 1\n", "]: {", "- 1\n"])
def test_a_directory_that_is_no_run_is_refused_and_untouched(tmp_path: Path, config: str | None, resume: bool) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    if config is not None:
        (tmp_path / "config.yaml").write_text(config)
    before = contents(tmp_path)
    with pytest.raises(RunError, match="not a run directory"):
        start(tmp_path, resume=resume)
    assert contents(tmp_path) == before


def test_a_file_in_the_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("dear")
    with pytest.raises(RunError, match="Not a directory"):
        start(tmp_path / "run")


def test_opening_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not a run directory"):
        RunDirectory.open(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lr": 0.1}, r"\(lr: 0.05 there, 0.1 now\)"),
        ({"space": {"name": "x3d", "parts": ["sparse", "dense"]}}, r"space.name: tiny there, x3d now"),
        ({"space": {"name": "tiny", "parts": ["sparse"]}}, r"space.parts: \['sparse', 'dense'\] there, \['sparse'\]"),
        ({"beta": 0.1}, r"beta: \(absent\) there, 0.1 now"),
    ],
)
def test_another_configuration_is_refused_naming_the_key(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    start(tmp_path / "run").close()
    before = contents(tmp_path / "run" / "config.yaml")
    with pytest.raises(RunError, match=message) as refusal:
        RunDirectory.create_or_resume(tmp_path / "run", {**CONFIG, **change}, kind="search", resume=True)
    assert contents(tmp_path / "run" / "config.yaml") == before
    start(tmp_path / "run", resume=True).close()  # the refusal, traceback and all, holds no lock
    del refusal


class Inner(msgspec.Struct, omit_defaults=True):
    rate: float
    clip: float | None = None


class Outer(msgspec.Struct):
    inner: Inner
    seed: int = 0
    threads: int | None = None
    names: list[str] = msgspec.field(default_factory=list)


def test_a_run_from_before_a_setting_goes_on_with_its_default(tmp_path: Path) -> None:
    config = {"settings": {"inner": {"rate": 0.5}, "seed": 3, "names": []}}
    RunDirectory.create_or_resume(tmp_path / "run", config, kind="search").close()
    before = contents(tmp_path / "run" / "config.yaml")
    newer = Outer(Inner(0.5), 3)
    for again in (False, True):  # what is not written, because it is a default, is no difference either
        RunDirectory.create_or_resume(tmp_path / "new", {"settings": newer}, kind="search", resume=again).close()
    RunDirectory.create_or_resume(tmp_path / "run", {"settings": newer}, kind="search", resume=True).close()
    assert contents(tmp_path / "run" / "config.yaml") == before
    for change, says in (
        (Outer(Inner(0.5), 3, threads=2), "settings.threads: None there, 2 now"),
        (Outer(Inner(0.5, clip=1.0), 3), "settings.inner.clip: None there, 1.0 now"),
        (Outer(Inner(0.25), 3), "settings.inner.rate: 0.5 there, 0.25 now"),
        (Outer(Inner(0.5)), "settings.seed: 3 there, 0 now"),
    ):
        with pytest.raises(RunError, match=says):
            RunDirectory.create_or_resume(tmp_path / "run", {"settings": change}, kind="search", resume=True)


def test_another_kind_is_refused(tmp_path: Path) -> None:
    start(tmp_path / "run").close()
    with pytest.raises(RunError, match="kind: search there, train now"):
        RunDirectory.create_or_resume(tmp_path / "run", CONFIG, kind="train", resume=True)


@pytest.mark.parametrize("versions", [{"autovid": "0.0.1"}, {"torch": "2.0"}])
def test_another_version_goes_on(tmp_path: Path, versions: dict[str, str]) -> None:
    start(tmp_path / "run").close()
    file = tmp_path / "run" / "config.yaml"
    file.write_text(dump_yaml({**RunDirectory.open(file.parent).config, **versions}))
    start(tmp_path / "run", resume=True).close()


@pytest.mark.parametrize("resume", [False, True])
def test_a_run_in_use_is_refused_naming_the_process(tmp_path: Path, resume: bool) -> None:
    with start(tmp_path / "run"), pytest.raises(RunError, match=f"in use by process {os.getpid()} on"):
        start(tmp_path / "run", resume=resume)


def fork_and_wait(path: Path | None) -> int:
    """A child that takes the lock of `path`, if given, says so, and sleeps."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        run = start(path) if path else None
        os.write(writer, b"x" if run or not path else b"")
        time.sleep(600)
        os._exit(1)
    os.read(reader, 1)
    os.close(reader)
    os.close(writer)
    return child


def test_a_killed_process_leaves_no_lock(tmp_path: Path) -> None:
    child = fork_and_wait(tmp_path / "run")
    try:
        with pytest.raises(RunError, match=f"in use by process {child}"):
            start(tmp_path / "run", resume=True)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    start(tmp_path / "run", resume=True).close()


def test_a_forked_worker_that_lives_on_does_not_hold_the_lock(tmp_path: Path) -> None:
    run = start(tmp_path / "run")
    child = fork_and_wait(None)
    try:
        with pytest.raises(RunError, match="in use"):
            start(tmp_path / "run", resume=True)
        run.close()
        start(tmp_path / "run", resume=True).close()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_running_run_can_be_read(tmp_path: Path) -> None:
    with start(tmp_path / "run") as run:
        assert RunDirectory.open(run.path).config == run.config


def test_log_lines_carry_the_time_and_stay_one_line(tmp_path: Path) -> None:
    with start(tmp_path / "run") as run:
        run.log("first")
        run.log("second\nhalf")
        lines = (run.path / "log.txt").read_text().splitlines()
    assert [line[20:] for line in lines] == ["first", "second half"]
    time.strptime(lines[0][:19], "%Y-%m-%d %H:%M:%S")


def test_a_line_that_a_kill_has_torn_is_not_continued(tmp_path: Path) -> None:
    with start(tmp_path / "run") as run:
        run.log("first")
    log = run.path / "log.txt"
    log.write_bytes(log.read_bytes()[:-3])
    for line in ("second", "third"):
        with start(tmp_path / "run", resume=True) as run:
            run.log(line)
    assert [line[20:] for line in log.read_text().splitlines()] == ["fir", "second", "third"]


def test_write_atomic_leaves_the_old_file_when_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "architecture.yaml"
    write_atomic(file, "old\n")

    def full(fd: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(RunError, match="No space left on device; free some space"):
        write_atomic(file, "new\n")
    monkeypatch.undo()
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("architecture.yaml", "old\n")]
    write_atomic(file, b"new\n")
    assert file.read_text() == "new\n"
