"""Worker processes: in order, prompt, gone when they should be, and silent about it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from autovid.data.workers import WorkerPool
from autovid.errors import DataError


def sleepy_square(n: int) -> int:
    time.sleep(0.01 * (n % 3))
    return n * n


def fail_at_five(n: int) -> int:
    if n == 5:
        raise DataError("five")
    return n


def die_at_five(n: int) -> int:
    if n == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return n


@pytest.mark.parametrize("count", [0, 3])
def test_results_come_in_the_order_of_the_tasks(count: int) -> None:
    with closing(WorkerPool(sleepy_square, count)) as workers:
        assert list(workers.run(range(20))) == [n * n for n in range(20)]
        assert list(workers.run([3])) == [9]
        assert list(workers.run([])) == []


def test_tasks_are_taken_as_they_are_needed() -> None:
    taken = []

    def tasks() -> Iterator[int]:
        for n in range(1000):
            taken.append(n)
            yield n

    with closing(WorkerPool(sleepy_square, 2)) as workers:
        results = workers.run(tasks())
        assert [next(results) for _ in range(3)] == [0, 1, 4]
        assert len(taken) == 5


def test_an_error_of_a_task_comes_at_its_place_and_the_workers_live_on() -> None:
    with closing(WorkerPool(fail_at_five, 2)) as workers:
        results = workers.run(range(10))
        assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
        with pytest.raises(DataError, match="five"):
            next(results)
        assert list(workers.run([1, 2])) == [1, 2]


def test_a_killed_worker_is_one_clear_error_and_not_a_wait() -> None:
    with closing(WorkerPool(die_at_five, 2)) as workers:
        with pytest.raises(DataError, match=r"has died \(exit code -9\).*memory"):
            list(workers.run(range(10)))
        assert list(workers.run([1])) == [1]


def test_a_later_run_does_not_get_what_is_left_of_an_earlier_one() -> None:
    with closing(WorkerPool(sleepy_square, 2)) as workers:
        first = workers.run(range(100))
        assert next(first) == 0
        second = workers.run(range(10, 20))
        assert next(second) == 100
        first.close()
        assert list(second) == [n * n for n in range(11, 20)]


SCRIPT = """
import sys, time
from autovid.data.workers import WorkerPool
from test_workers import sleepy_square

if __name__ == "__main__":
    workers = WorkerPool(sleepy_square, 2)
    results = workers.run(range(10**9))
    next(results)
    try:
        print(*(process.pid for process in workers._processes), flush=True)
        for _ in results:
            pass
    except KeyboardInterrupt:
        print("stopped", flush=True)
"""


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def running(tmp_path: Path) -> Iterator[tuple["subprocess.Popen[str]", list[int]]]:
    """A program of its own process group with two workers at work."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    here = Path(__file__).parent
    process = subprocess.Popen(
        [sys.executable, script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": f"{here.parents[1]}{os.pathsep}{here}"},
    )
    assert process.stdout is not None
    yield process, [int(pid) for pid in process.stdout.readline().split()]
    process.kill()
    process.communicate()


def gone(pids: list[int]) -> bool:
    for _ in range(600):
        if not any(map(alive, pids)):
            return True
        time.sleep(0.05)
    return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes in /proc")
def test_ctrl_c_stops_the_program_and_the_workers_say_nothing(
    running: tuple["subprocess.Popen[str]", list[int]],
) -> None:
    process, pids = running
    assert len(pids) == 2
    assert all(map(alive, pids))
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process of the group
    out, err = process.communicate(timeout=60)
    assert (out, err, process.returncode) == ("stopped\n", "", 0)
    assert gone(pids)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes in /proc")
def test_workers_do_not_outlive_a_program_that_is_killed(running: tuple["subprocess.Popen[str]", list[int]]) -> None:
    process, pids = running
    process.kill()
    assert gone(pids)
    assert process.communicate(timeout=60)[1] == ""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes in /proc")
def test_sigterm_to_all_leaves_the_end_to_the_program(running: tuple["subprocess.Popen[str]", list[int]]) -> None:
    process, pids = running
    for pid in pids:
        os.kill(pid, signal.SIGTERM)
    time.sleep(0.2)
    assert all(map(alive, pids))
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60)[0] == "stopped\n"
    assert gone(pids)
