"""Real processes, really killed, stopped and cut off."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from kill_loop import STEPS, attempt
from toy import same

from autovid.run import RunDirectory

HERE = Path(__file__).parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(HERE.parents[1])}
ENVIRONMENT.pop("PYTHONUNBUFFERED", None)  # it hides what a closed pipe does to buffered output at exit


def command(script: str, *arguments: object) -> list[str]:
    return [sys.executable, str(HERE / script), *map(str, arguments)]


def begin(*arguments: object) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        command("stop_me.py", *arguments),
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_steps(path: Path, steps: int, process: "subprocess.Popen[str]") -> None:
    file = path / "metrics.jsonl"
    while not file.exists() or len(file.read_bytes().splitlines()) < steps:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.thorough)])
def test_killed_at_random_moments_it_ends_bit_for_bit_the_same(tmp_path: Path, seed: int) -> None:
    attempt(tmp_path / "whole")
    result = subprocess.run(
        command("kill_loop.py", tmp_path / "run", seed), env=ENVIRONMENT, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr
    killed, in_saves = map(int, result.stdout.split())
    assert killed >= 2
    assert in_saves >= 1
    whole, run = (RunDirectory.open(tmp_path / name).load(STEPS) for name in ("whole", "run"))
    assert same(whole.state, run.state)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_finishes_the_step_saves_and_says_how_to_go_on(tmp_path: Path, number: int, code: int) -> None:
    process = begin(tmp_path / "run", 2000)
    wait_for_steps(tmp_path / "run", 3, process)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    latest = RunDirectory.open(tmp_path / "run").latest()
    assert latest is not None
    last = f"stopped after step {latest.step} of 2000; saved at step {latest.step}. Go on with: python stop_me.py"
    assert errors.strip().splitlines()[-1] == last
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == latest.step


@pytest.mark.slow
def test_a_second_signal_does_not_wait_for_the_step(tmp_path: Path) -> None:
    process = begin(tmp_path / "run", 2000, 7)  # step 7 would take ten minutes
    wait_for_steps(tmp_path / "run", 7, process)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    while "once more to stop at once" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.strip() == "stopped at once; saved at step 5. Go on with: python stop_me.py"


@pytest.mark.slow
def test_a_closed_pipe_on_standard_output_stops_nothing(tmp_path: Path) -> None:
    process = begin(tmp_path / "run", 10)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(timeout=60) == 0
    assert RunDirectory.open(tmp_path / "run").steps()[-1] == 10
