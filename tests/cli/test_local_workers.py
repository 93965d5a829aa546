"""Workers that a command starts itself: one voice, one directory, and none is left behind."""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from processes import descendants, running

from autovid.cli import main
from autovid.run import RunDirectory

SEARCH = (
    "search --space tiny --flops 0.0075:0.008 --recipe proxy --steps 2 --samples 2 --alpha-every 1 --batch 4 --crop 16 "
    "--jitter 16:20 --open-prior quarter --device cpu --precision fp32 --decoders 0 --cache off --processes 2"
)
WAIT = 120.0  # seconds, for what takes a few


def wait_for(what: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT
    while not what():
        assert time.monotonic() < end
        time.sleep(0.05)


def alive(pid: int) -> bool:
    """Whether it runs; a process that has ended may wait for its parent to ask."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_two_processes_search_stop_together_and_go_on(tiny_videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = [sys.executable, "-m", "autovid", *SEARCH.split(), "--data", str(tiny_videos), "-o", str(out)]
    metrics = out / "metrics.jsonl"
    with running(words, stdout=-1, stderr=-1, text=True) as process:
        wait_for(lambda: metrics.exists() and metrics.read_text().count("\n") >= 1)
        others = descendants(process.pid) - {process.pid}
        os.kill(process.pid, signal.SIGTERM)
        said, warned = process.communicate(timeout=WAIT)
    assert process.returncode == 143, warned
    assert len(others) == 1
    assert not any(map(alive, others))
    assert "starting, 2 workers" in (out / "log.txt").read_text()
    assert said.count("autovid search ·") == 1
    assert warned.count("Go on with:") == 1
    assert "Traceback" not in warned
    assert RunDirectory.open(out).config["settings"]["archs_per_update"] == 2

    with running([*words, "--resume"], stdout=-1, stderr=-1, text=True) as process:
        done = metrics.read_text().count("\n")
        wait_for(lambda: metrics.read_text().count("\n") > done)
        others = descendants(process.pid) - {process.pid}
        os.kill(process.pid, signal.SIGKILL)
        wait_for(lambda: not any(map(alive, others)))
        assert len(others) == 1


def test_what_cannot_be_is_said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["search", "--processes", "2", "--score", "table:x.csv"]) == 2
    assert "--processes does not go with --score table:x.csv" in capsys.readouterr().err
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main([*SEARCH.split()]) == 2
    assert "leave --processes out" in capsys.readouterr().err
