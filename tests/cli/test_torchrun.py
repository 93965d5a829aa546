"""Workers that meet as torchrun starts them: one voice, one directory, and those that die are started anew."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
import torch.distributed as dist
from processes import running
from safetensors.torch import load_file

from autovid import distributed

pytestmark = pytest.mark.docs
SEARCH = (
    "search --space tiny --flops 0.0075:0.008 --steps 6 --samples 2 --alpha-every 1 --batch 4 --crop 16 --jitter 16:20"
)
TORCHRUN = "torch.distributed.run --nproc-per-node 2 --max-restarts 2 --rdzv-backend c10d --rdzv-endpoint 127.0.0.1:0"


def test_workers_under_torchrun_search_together_and_survive_a_kill(tiny_videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = [sys.executable, "-m", *TORCHRUN.split(), "-m", "autovid", *SEARCH.split(), "--recipe", "proxy"]
    words += ["--device", "cpu", "--precision", "fp32", "--data", str(tiny_videos), "-o", str(out)]
    with running(words, stdout=-1, stderr=-1, text=True) as process:
        threading.Thread(target=kill_a_worker, args=(out, process.pid), daemon=True).start()
        said, warned = process.communicate(timeout=300)
    assert process.returncode == 0, warned
    assert re.findall("restart (.) of 2: going on in", warned) == ["1"]
    assert said.count("where  ") == 1
    log = (out / "log.txt").read_text()
    assert re.search("step (6|12|18) of 24: starting, 2 workers", log)
    assert "step 24 of 24: finished" in log
    last = max((out / "checkpoints").iterdir())
    assert load_file(last / "search.safetensors")


def kill_a_worker(out: Path, torchrun: int) -> None:
    """SIGKILL to one of torchrun's workers, when the first part has been saved."""
    metrics = out / "metrics.jsonl"
    while not (metrics.exists() and metrics.read_text().count("\n") >= 7):
        time.sleep(0.05)
    children = subprocess.run(["pgrep", "-P", str(torchrun)], capture_output=True, text=True).stdout.split()
    os.kill(int(children[-1]), signal.SIGKILL)


def test_an_attempt_meets_under_a_name_of_its_own_whatever_earlier_ones_have_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A worker that comes long before the first one must not take what is there from the last attempt."""
    monkeypatch.setattr(distributed, "PATIENCE", timedelta(seconds=20))
    server = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)

    def meet(rank: int, wait: float) -> str:
        store = dist.TCPStore("127.0.0.1", server.port, wait_for_workers=False, timeout=distributed.PATIENCE)
        time.sleep(wait)
        return distributed.name_of_attempt(store, rank, 3)

    names = []
    for waits in ((0, 0.2, 0.4), (0.4, 0, 0), (0.2, 0.4, 0)):
        server.set("autovid/asked by 1", "one that died before it was answered")
        with ThreadPoolExecutor() as pool:
            met = set(pool.map(meet, range(3), waits))
        assert len(met) == 1
        names += met
    assert len(set(names)) == 3
