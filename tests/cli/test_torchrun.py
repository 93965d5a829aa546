"""The command line under torchrun: one voice, one directory, and workers that die are started anew."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from safetensors.torch import load_file

SEARCH = "search --space tiny --flops 0.0075:0.008 --steps 6 --samples 2 --batch 4 --crop 16 --jitter 16:20"
TORCHRUN = "torch.distributed.run --nproc-per-node 2 --max-restarts 9 --rdzv-backend c10d --rdzv-endpoint 127.0.0.1:0"


def test_workers_under_torchrun_search_together_and_survive_a_kill(tiny_videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = [sys.executable, "-m", *TORCHRUN.split(), "-m", "autovid", *SEARCH.split(), "--recipe", "proxy"]
    words += ["--device", "cpu", "--precision", "fp32", "--data", str(tiny_videos), "-o", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(words, stdout=-1, stderr=-1, text=True, env=environment) as process:
        killer = threading.Thread(target=kill_a_worker, args=(out, process.pid))
        killer.start()
        said, warned = process.communicate(timeout=300)
        killer.join()
    assert process.returncode == 0, warned
    assert re.search("restart [1-9] of 9: going on in", warned)  # gloo may refuse the first ones while ports close
    assert said.count("where  ") == 1
    log = (out / "log.txt").read_text()
    assert re.search("step (6|12) of 18: starting, 2 workers", log)
    assert "step 18 of 18: finished" in log
    last = max((out / "checkpoints").iterdir())
    assert load_file(last / "search.safetensors")


def kill_a_worker(out: Path, torchrun: int) -> None:
    """SIGKILL to one of torchrun's workers, when the first part has been saved."""
    metrics = out / "metrics.jsonl"
    while not (metrics.exists() and metrics.read_text().count("\n") >= 7):
        time.sleep(0.05)
    found = subprocess.run(["pgrep", "-P", str(torchrun)], capture_output=True, text=True).stdout.split()
    os.kill(int(found[-1]), signal.SIGKILL)
