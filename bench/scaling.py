"""Step time with 1 and 2 workers at fixed work per worker, and the share of it that is communication: prints Markdown.

    python bench/scaling.py [--steps 10] [--workers 2] > bench/results/scaling.md

Each worker is a process with one thread, as torchrun would start it, with 8 clips of its own a step: a training step of
an architecture of `tiny`, of X3D-S and of TSN-ResNet-18 at 4 x 64 x 64, and a step of the search in `tiny`.
Work per worker is the same for any number of workers, so that 1.00 would be perfect. Communication is the time spent in
calls that other workers answer, waiting for the slower one included; gradients are sent while backward runs, and the
wait for the last of them is not in it. Processes that share one machine also share its memory and clock:
what they slow each other down by without a word to each other is the row "2 workers, apart".
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from hardware import hardware

from autovid import distributed
from autovid.data import ClipLoader, VideoSet, open_videos
from autovid.kernels.compute import Compute
from autovid.models import build, load_model
from autovid.run import seed_step
from autovid.search import settings_for
from autovid.search.run import supernet_search
from autovid.space import load_space
from autovid.train.recipe import make_recipe
from autovid.train.task import TrainingTask, prepare

CLIPS = 8  # a worker and step
CALLS = ("all_reduce", "all_gather", "broadcast", "broadcast_object_list")


class Clock:
    """Seconds spent in the calls of torch.distributed."""

    def __init__(self) -> None:
        self.seconds = 0.0
        for name in CALLS:
            setattr(dist, name, self._timed(getattr(dist, name)))

    def _timed(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **options: Any) -> Any:
            start = time.perf_counter()
            try:
                return call(*arguments, **options)
            finally:
                self.seconds += time.perf_counter() - start

        return timed


def training(name: str, frames: int, crop: int, sync_norm: bool = False) -> Callable[[VideoSet], Any]:
    """A task that trains the network `name`, or an architecture of the space `name`."""

    def make(videos: VideoSet) -> Any:
        model = load_space(name).sample(1)[0] if name == "tiny" else load_model(name)
        batch = CLIPS * distributed.size()
        clip = {"frames": frames, "crop": crop, "sync_norm": sync_norm}
        recipe = make_recipe(model, name="proxy", batch=batch, precision="fp32", **clip)
        if name != "tiny":
            model = model.changed(classes=len(videos.classes), frames=frames, crop=crop)
        net = prepare(build(model, classes=len(videos.classes)), recipe)
        share = (distributed.rank(), distributed.size())
        loader = ClipLoader(videos.train, videos.root, recipe.clip(net.clip), batch=batch, train=True, shard=share)
        return TrainingTask(net, loader, recipe, Compute("cpu", "fp32"), 10**6, {})

    return make


def searching(videos: VideoSet) -> Any:
    """A task that searches tiny."""
    space = load_space("tiny")
    batch = CLIPS * distributed.size()
    settings = settings_for(space, proxy=True, videos=10**6, batch=batch, steps=10**6)
    return supernet_search(space, videos, settings, Compute("cpu", "fp32"))


SHARED = "the same, norms over all workers"  # with --sync-norm
SMALL = {"tiny": ("tiny", 16, 32), "X3D-S": ("x3d_s", 4, 64), "TSN-ResNet-18": ("tsn_resnet18", 4, 64)}
TASKS = {"search, tiny": searching}
for title, clip in SMALL.items():
    TASKS |= {f"training, {title}": training(*clip), f"{title}, {SHARED}": training(*clip, sync_norm=True)}


def work(steps: int, data: str) -> dict[str, tuple[float, float]]:
    """The median step and the median of its communication, in seconds, of every task."""
    torch.set_num_threads(1)
    videos, clock, medians = open_videos(data), Clock(), {}
    for name, make in TASKS.items():
        task, times, talk = make(videos), [], []
        for index in range(steps + 2):
            seed_step(0, index)
            if distributed.size() > 1:
                dist.barrier()
            clock.seconds, start = 0.0, time.perf_counter()
            task.step(index)
            times.append(time.perf_counter() - start)
            talk.append(clock.seconds)
        medians[name] = (statistics.median(times[2:]), statistics.median(talk[2:]))
    return medians


def workers(number: int, apart: bool, steps: int, data: str) -> list[dict[str, list[float]]]:
    """What each of `number` processes has measured, which are one run or, `apart`, one each."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "1" if apart else str(number)}
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, "--as-worker", data, "--steps", str(steps)],
            env={**os.environ, **meeting, "RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
        )
        for rank in range(number)
    ]
    return [json.loads(process.communicate()[0]) for process in processes]


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--as-worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.as_worker:
        with distributed.process_group():
            print(json.dumps(work(args.steps, args.as_worker)))
        return
    from autovid.data.synthetic import SyntheticRecipe, write_synthetic

    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "videos"
        write_synthetic(data, SyntheticRecipe(train=8, val=1, frames=32, side=72))
        kinds = {"1 worker": (1, False), f"{args.workers} workers, apart": (args.workers, True)}
        kinds[f"{args.workers} workers"] = (args.workers, False)
        results = {kind: workers(*how, args.steps, str(data)) for kind, how in kinds.items()}
    print(f"# Workers at fixed work per worker\n\n{hardware()}; one thread a worker, gloo, {CLIPS} clips a worker.\n")
    print("| task | workers | step (ms) | ratio | communication |\n|---|---|---:|---:|---:|")
    for name in TASKS:
        alone = results["1 worker"][0][name][0]
        for kind, measured in results.items():
            step = max(one[name][0] for one in measured)
            talk = statistics.mean(one[name][1] / one[name][0] for one in measured)
            print(f"| {name} | {kind} | {step * 1e3:.0f} | {step / alone:.2f} | {talk:.0%} |")


if __name__ == "__main__":
    main()
