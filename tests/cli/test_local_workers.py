"""Workers that a command starts itself: one voice, one directory, and none is left behind."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from processes import descendants, running

from autovid.cli import main
from autovid.run.directory import read_config

SEARCH = (
    "search --space tiny --flops 0.0075:0.008 --samples 2 --batch 4 --crop 16 --jitter 16:20 "
    "--open-prior quarter --device cpu --precision fp32 --decoders 0 --cache off"
)
MEASURED = """
import torch
from autovid import distributed
from autovid.blocks.registry import ATTENTIONS
from autovid.search import budget

ATTENTIONS.register("none", "what makes this file a plugin")(object)
torch.set_num_threads(2)
budget.measure = lambda *args, **options: budget.Rates((0.2 * ({ratio} if distributed.size() == 2 else 1),) * 4, 0.005)
"""
BUDGET = ("--budget", "200s", "--archs-per-update", "2")
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


def listening(pid: int) -> set[str]:
    """Return the addresses of this machine at which a process takes connections."""
    own: set[str] = set()
    with contextlib.suppress(OSError):
        own = {os.readlink(file) for file in Path(f"/proc/{pid}/fd").iterdir()}
    addresses = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            if state == "0A" and f"socket:[{inode}]" in own:
                digits = local.partition(":")[0]
                four = [str(byte) for byte in reversed(bytes.fromhex(digits))]
                addresses.add(".".join(four) if table == "tcp" else digits)
    return addresses


def start(tiny_videos: Path, out: Path, *more: str) -> "contextlib.AbstractContextManager[subprocess.Popen[str]]":
    words = [sys.executable, "-m", "autovid", *SEARCH.split(), "--data", str(tiny_videos), "-o", str(out), *more]
    return running(words, stdout=-1, stderr=-1, text=True)


def stopped(process: "subprocess.Popen[str]", out: Path) -> tuple[str, set[int]]:
    """What a search says, and the other processes that it has, where it is stopped after its first step."""
    metrics = out / "metrics.jsonl"
    wait_for(lambda: process.poll() is not None or (metrics.exists() and metrics.read_text().count("\n") >= 1))
    others = descendants(process.pid) - {process.pid}
    if process.poll() is None and Path("/proc/net/tcp").exists():
        assert set().union(*map(listening, (process.pid, *others))) <= {"127.0.0.1"}
    os.kill(process.pid, signal.SIGTERM)
    said, warned = process.communicate(timeout=WAIT)
    assert process.returncode == 143, warned
    assert not any(map(alive, others))
    assert said.count("autovid search ·") == 1
    assert warned.count("Go on with:") == 1
    assert "Traceback" not in warned
    return said, others


@pytest.mark.docs
def test_two_processes_search_and_stop_together(tiny_videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with start(
        tiny_videos, out, "--recipe", "proxy", "--steps", "2", "--alpha-every", "1", "--processes", "2"
    ) as process:
        _, others = stopped(process, out)
    assert len(others) == 1
    assert "starting, 2 workers" in (out / "log.txt").read_text()
    assert read_config(out / "config.yaml")["settings"]["archs_per_update"] == 2


@pytest.mark.docs
def test_a_budget_is_for_two_processes_where_these_are_faster(tiny_videos: Path, tmp_path: Path) -> None:
    out, plugin = tmp_path / "run", tmp_path / "measured.py"
    plugin.write_text(MEASURED.format(ratio=0.75))
    with start(tiny_videos, out, *BUDGET, "--plugin", str(plugin)) as process:
        said, others = stopped(process, out)
    assert len(others) == 1
    assert "on 2 processes" in said
    assert "--processes 2" in said
    settings = read_config(out / "config.yaml")["settings"]
    assert (settings["processes"], settings["archs_per_update"]) == (2, 2)
    log, lines = out / "log.txt", (out / "metrics.jsonl").read_text().count("\n")
    with start(tiny_videos, out, *BUDGET, "--plugin", str(plugin), "--resume") as process:
        wait_for(lambda: (out / "metrics.jsonl").read_text().count("\n") > lines)
        others = descendants(process.pid) - {process.pid}
        assert log.read_text().count("starting, 2 workers") == 2
        os.kill(process.pid, signal.SIGKILL)
        wait_for(lambda: not any(map(alive, others)))
    assert len(others) == 1


@pytest.mark.thorough
def test_a_budget_is_for_one_process_where_two_are_slower(tiny_videos: Path, tmp_path: Path) -> None:
    out, plugin = tmp_path / "run", tmp_path / "measured.py"
    plugin.write_text(MEASURED.format(ratio=1.25))
    with start(tiny_videos, out, *BUDGET, "--plugin", str(plugin)) as process:
        said, others = stopped(process, out)
    assert not [pid for pid in others if alive(pid)]
    assert "on one process" in said
    assert "workers" not in (out / "log.txt").read_text()
    settings = read_config(out / "config.yaml")["settings"]
    assert (settings["processes"], settings["archs_per_update"]) == (1, 2)


def test_what_cannot_be_is_said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["search", "--processes", "2", "--score", "table:x.csv"]) == 2
    assert "--processes does not go with --score table:x.csv" in capsys.readouterr().err
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main([*SEARCH.split(), "--processes", "2"]) == 2
    assert "leave --processes out" in capsys.readouterr().err
