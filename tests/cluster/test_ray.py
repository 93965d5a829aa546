"""Runs on Ray: workers and trials in real processes, some of which are really killed. All share one local cluster."""

import contextlib
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import torch
from processes import descendants, running
from safetensors.torch import load_file

from autovid.cli import main
from autovid.cluster import Halving, Resources, Trial, run_trials, workers
from autovid.cluster.workers import ClusterError
from autovid.errors import ConfigError, DataError
from autovid.plugins import load_plugins
from autovid.run import RunDirectory
from autovid.run.loop import Interrupted

TRAIN = "--recipe proxy --epochs 1 --batch 12 --crop 16 --jitter 16:20"
pytestmark = [
    pytest.mark.docs,
    pytest.mark.skipif(" " in sys.prefix, reason="Ray starts no processes from a path with a space"),
]
SEARCH = "--space tiny --flops 0.0075:0.008 --steps 6 --samples 2 --batch 4 --crop 16 --jitter 16:20 --recipe proxy"
MACHINE = "--device cpu --precision fp32"


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a Ray cluster on this machine, as `ray start --head` makes it, on loopback and with a token."""
    variables = {
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",  # by default 15: beside other tests its workers would hardly run
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        words = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--num-cpus", "4"]
        words += ["--include-dashboard", "false", "--node-ip-address", "127.0.0.1", "--port", str(port := free_port())]
        quiet = subprocess.DEVNULL
        with running(words, stdout=quiet, stderr=quiet) as head:  # `ray stop` would stop all clusters of this machine
            wait_for(port, head)
            yield f"127.0.0.1:{port}"


def wait_for(port: int, head: "subprocess.Popen[bytes]") -> None:
    for _ in range(600):
        assert head.poll() is None, "Ray does not start"
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        time.sleep(0.2)
    raise AssertionError("Ray does not answer")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


# -- workers


def search(out: Path, data: Path, *more: str) -> int:
    return main(["search", *SEARCH.split(), *MACHINE.split(), "--data", str(data), "-o", str(out), *more])


def learned(out: Path) -> dict[str, torch.Tensor]:
    checkpoint = RunDirectory.open(out).latest()
    assert checkpoint is not None
    folder = max((out / "checkpoints").iterdir())
    return {**load_file(folder / "search.safetensors"), **load_file(folder / "model.safetensors")}


def after(out: Path, steps: int, do: Callable[[], None]) -> threading.Thread:
    """Calls `do` once the run in `out` has done so many steps."""

    def watch() -> None:
        metrics = out / "metrics.jsonl"
        for _ in range(3000):
            if metrics.exists() and metrics.read_text().count("\n") >= steps:
                return do()
            time.sleep(0.1)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def kill_a_worker() -> None:
    """SIGKILL to a worker of Ray Train, as when a machine goes."""
    children = subprocess.run(["pgrep", "-f", "^ray::RayTrainWorker"], capture_output=True, text=True).stdout.split()
    os.kill(int(children[-1]), signal.SIGKILL)


@pytest.mark.thorough
def test_a_search_whose_worker_is_killed_goes_on_and_equals_an_undisturbed_one(
    cluster: str, tiny_videos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """That two workers do the same step as one: tests/search/test_search_on_two_workers.py."""
    undisturbed, together = tmp_path / "undisturbed", tmp_path / "together"
    assert search(undisturbed, tiny_videos, "--workers", "2", "--address", cluster) == 0
    killer = after(together, 7, kill_a_worker)  # in the second part, after the milestone of the first
    assert search(together, tiny_videos, "--workers", "2", "--address", cluster) == 0
    killer.join()
    assert "restart 1 of 3" in capfd.readouterr().err
    assert re.search("step (6|12) of 18: starting, 2 workers", (together / "log.txt").read_text())
    ours, theirs = learned(together), learned(undisturbed)
    assert ours.keys() == theirs.keys()
    # to the bit: as many workers with as many threads on one machine, and a sum of two has the same bits in any order
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    assert (together / "architecture.yaml").exists()
    steps = [json.loads(line)["step"] for line in (together / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(set(steps))


def test_a_signal_lets_the_workers_save_and_stop(
    cluster: str, tiny_videos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    stopper = after(out, 2, lambda: os.kill(os.getpid(), signal.SIGTERM))
    code = search(out, tiny_videos, "--workers", "2", "--address", cluster, "--steps", "200")
    stopper.join()
    assert code == 143
    said = capfd.readouterr().err
    assert said.count("Go on with: ") == 1
    assert "Go on with: autovid search --space tiny " in said
    assert RunDirectory.open(out).latest() is not None


def test_what_cannot_be_is_said_before_ray_is_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "--space", "tiny", "--flops", "7:8", "--workers", "2", "--address", "nowhere:1"]) == 3
    assert main(["train", "tsn_resnet19", "--workers", "2", "--address", "nowhere:1"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2


# -- trials


def trials(work: Callable[..., Any], names: list[str], cluster: str, **options: Any) -> list[Trial]:
    keywords = {"resources": Resources(), "retries": 2, "resume_command": "autovid again", **options}
    return sorted(run_trials(names, work, address=cluster, **keywords))


def test_a_trial_whose_process_dies_is_begun_again_and_none_is_lost(cluster: str, tmp_path: Path) -> None:
    folder = str(tmp_path)

    def work(number: int, report: object) -> int:
        began = Path(folder) / f"{number}"
        with began.open("a") as file:
            file.write("began\n")
        if number == 1 and began.read_text().count("began") == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if number == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return number * 10

    said: list[str] = []
    finished = trials(work, ["a", "b", "c"], cluster, say=said.append)
    assert [(trial.result, trial.retries) for trial in finished] == [(0, 0), (10, 1), (None, 2)]
    assert finished[2].failed
    assert [(tmp_path / name).read_text().count("began") for name in "012"] == [1, 2, 3]
    assert sorted(said) == [
        "b: its process died; retry 1 of 2",
        "c: its process died; retry 1 of 2",
        "c: its process died; retry 2 of 2",
    ]


def test_what_is_printed_in_a_trial_is_printed_here_and_its_mistake_is_raised_here(
    cluster: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(number: int, report: object) -> None:
        print("hello from a trial")
        raise DataError("no such video")

    with pytest.raises(DataError, match="no such video"):
        trials(work, ["a"], cluster)
    assert "hello from a trial\n" in capsys.readouterr().out


def test_trials_run_the_plugins_of_the_command_and_no_other_content(
    cluster: str, tmp_path: Path, without_plugins: None
) -> None:
    plugin = tmp_path / "own.py"
    lines = [
        "from autovid.blocks.registry import ATTENTIONS",
        "@ATTENTIONS.register('own', 'nothing')",
        "class Own: ...",
    ]
    plugin.write_text("\n".join(lines))
    load_plugins([plugin])

    def work(number: int, report: Any) -> bool:
        from autovid.blocks.registry import ATTENTIONS

        return "own" in ATTENTIONS

    assert [trial.result for trial in trials(work, ["a", "b"], cluster)] == [True, True]
    plugin.write_text("\n".join([*lines, "# changed"]))
    with pytest.raises(ConfigError, match="it is another file"):
        trials(work, ["a"], cluster)


def test_halving_ends_the_worst_and_says_when(cluster: str, tmp_path: Path) -> None:
    best_is_done = str(tmp_path / "done")

    def work(number: int, report: Callable[[int, float], None]) -> int:
        for _ in range(1200):  # the best has reported everything before another begins, however late it was started
            if number == 0 or Path(best_is_done).exists():
                break
            time.sleep(0.1)
        for epoch in range(1, 5):
            report(epoch, 90.0 - 10 * number)
        Path(best_is_done).touch()
        return number

    finished = trials(work, [f"t{i}" for i in range(4)], cluster, halving=Halving(grace=1, most=4, factor=2))
    assert finished[0].result == 0
    ended = [trial for trial in finished if trial.result is None]
    assert ended
    assert all(trial.stopped_at in (1, 2) and not trial.failed for trial in ended)


def test_a_signal_stops_trials_after_they_have_saved_and_begins_no_others(cluster: str, tmp_path: Path) -> None:
    folder = str(tmp_path)

    def work(number: int, report: object) -> None:
        from autovid.run.loop import StopRequest

        (Path(folder) / str(number)).touch()
        with StopRequest() as stop:
            while not stop.signal:
                time.sleep(0.1)
        raise Interrupted(stop.signal, "saved")

    def interrupt() -> None:
        while len(list(tmp_path.iterdir())) < 2:
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(Interrupted, match=r"0 of 9 trainings are done.*autovid again") as caught:
        trials(work, list("abcdefghi"), cluster, resources=Resources(at_once=2))
    assert caught.value.exit_code == 130
    assert len(list(tmp_path.iterdir())) == 2


def test_a_sweep_has_a_row_for_each_combination_and_does_nothing_twice(
    cluster: str, tiny_videos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["search", *SEARCH.split(), *MACHINE.split(), "--data", str(tiny_videos), "-o", f"{tmp_path}/s"]) == 0
    words = ["sweep", f"{tmp_path}/s", "--over", "lr=0.01,0.02", "--over", "seed=0..1", "--data", str(tiny_videos)]
    words += [*TRAIN.split(), *MACHINE.split(), "-o", f"{tmp_path}/sweep", "--address", cluster]
    assert main(words) == 0
    assert "(s.d. " in capfd.readouterr().out
    rows = json.loads((tmp_path / "sweep" / "trials.json").read_text())
    assert [row["settings"] for row in rows] == [[f"lr={lr}", f"seed={n}"] for lr in ("0.01", "0.02") for n in (0, 1)]
    assert all(row["top1"] is not None for row in rows)
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "sweep").glob("*/metrics.jsonl")}
    assert len(before) == 4
    assert main([*words, "--resume"]) == 0
    assert before == {file: file.stat().st_mtime_ns for file in (tmp_path / "sweep").glob("*/metrics.jsonl")}


@pytest.mark.thorough
def test_a_random_baseline_side_by_side_trains_what_one_after_the_other_does(
    cluster: str, tiny_videos: Path, tmp_path: Path
) -> None:
    words = ["random-baseline", "--space", "tiny", "--flops", "0.0075:0.008", "-n", "2", "--data", str(tiny_videos)]
    words += [*TRAIN.split(), *MACHINE.split()]
    assert main([*words, "-o", f"{tmp_path}/alone"]) == 0
    assert main([*words, "-o", f"{tmp_path}/ray", "--address", cluster]) == 0
    ours, theirs = ((tmp_path / name / "table.csv").read_text() for name in ("ray", "alone"))
    assert ours == theirs  # to the bit: each training is one process here and there, with as many threads (conftest.py)


# -- the cluster itself

LOCAL = """
import os
from autovid.cluster.workers import connected
with connected("local", 2, 0):
    import ray
    address = ray.get_runtime_context().gcs_address
    print(os.getpid(), address, os.environ["RAY_AUTH_TOKEN"], flush=True)
    input()
"""


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads what listens from /proc")
def test_a_local_cluster_listens_on_loopback_alone_and_answers_nobody_without_its_token() -> None:
    with running([sys.executable, "-c", LOCAL], stdin=-1, stdout=-1, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        head, address, token = process.stdout.readline().split()
        answers = [answer(address, one) for one in (None, secrets.token_hex(32), token)]
        everywhere, loopback = listening(descendants(int(head)))
        process.communicate("\n", timeout=60)
    assert process.returncode == 0
    assert loopback >= 4
    assert everywhere == 0
    assert answers == ["UNAUTHENTICATED", "UNAUTHENTICATED", "answered"]


def answer(address: str, token: str | None) -> str:
    """What the control store of a Ray cluster says to somebody with this token who asks for its nodes."""
    with grpc.insecure_channel(address) as channel:
        ask = channel.unary_unary("/ray.rpc.NodeInfoGcsService/GetAllNodeInfo")
        try:
            ask(b"", timeout=20, metadata=[("authorization", f"Bearer {token}")] if token else [])
        except grpc.RpcError as error:
            return str(error.code().name)
    return "answered"


def test_a_ray_that_knows_no_tokens_starts_no_cluster_of_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.__version__", "2.51.2")
    monkeypatch.setattr("ray.init", lambda *_args, **_kwargs: pytest.fail("started"))
    with pytest.raises(ClusterError, match=r"Ray 2.51.2 .*pip install 'ray\[tune\]>=2.52'"):
        workers._start("local", 1, 0)


def listening(pids: set[int]) -> tuple[int, int]:
    """How many sockets of these processes listen on every interface or a real one, and how many on loopback alone."""
    inodes = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                inodes.add(os.readlink(link).removeprefix("socket:[").removesuffix("]"))
            except OSError:
                continue
    everywhere = loopback = 0
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                local = fields[1].split(":")[0] in (
                    "0100007F",
                    "0000000000000000FFFF00000100007F",
                    "0" * 24 + "01000000",
                )
                loopback, everywhere = loopback + local, everywhere + (not local)
    return everywhere, loopback


def test_more_gpus_than_there_are_is_one_line() -> None:
    with pytest.raises(ConfigError, match="GPUs are asked for, and this machine has"):
        list(run_trials(["a"], lambda *_: 0, address="local", resources=Resources(1, 64), retries=0, resume_command=""))


def test_what_no_node_will_ever_have_is_not_waited_for(
    cluster: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(workers, "JOINING", 1.0)
    with pytest.raises(ClusterError, match="room for 0 of 1 processes of 1 CPUs and 64 GPUs each: its nodes have 4 "):
        trials(lambda *_: 0, ["a"], cluster, resources=Resources(1, 64))
    words = f"train tsn_resnet18 {TRAIN} {MACHINE} --workers 5 --address {cluster} -o {tmp_path / 'run'}"
    assert main(words.split()) == ClusterError.exit_code
    said = capsys.readouterr()
    assert "room for 4 of 5 processes of 1 CPUs and 0 GPUs each; waiting for more nodes" in said.out
    assert "its nodes have 4 CPUs" in said.err


@pytest.mark.parametrize(
    ("cpus", "gpus", "number"),
    [(1, 0, 20), (4, 0, 5), (16, 0, 1), (32, 0, 0), (1, 1, 3), (1, 2, 1), (1, 0.5, 6), (1, 0.4, 6), (8, 0.5, 2)],
)
def test_room_is_counted_node_by_node(cpus: int, gpus: float, number: int) -> None:
    """A process has its CPUs and GPUs on one node, and a share of a GPU on one GPU."""
    nodes = [{"CPU": 16.0, "GPU": 3.0, "memory": 1e9}, {"CPU": 4.0}, {"memory": 1e9}]
    assert workers.capacity(nodes, cpus, gpus) == number


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "nowhere.invalid:6379", "127.0.0.1:99999"])
def test_an_address_where_nobody_answers_is_one_line(
    address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "run")
    assert main(["search", "--space", "tiny", "--steps", "1", "--workers", "1", "--address", address, "-o", out]) == 7
    assert capsys.readouterr().err.startswith(f"autovid search: no Ray cluster answers at {address}: ")
