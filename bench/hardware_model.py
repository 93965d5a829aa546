"""A machine's profile held against measurement: steps of training and search, with 1 and 2 workers; prints Markdown.

    python bench/hardware_model.py [--steps 8] [--profile FILE] > bench/results/hardware_model.md

The machine is measured as `autovid profile --threads 1` does it; then steps are, of a training of five networks and of
a search by the published recipe (K = 13, learning and scoring), by processes of one thread with 8 clips of their own a
step. Clips lie in memory. None of the networks was used to choose what the profile measures. `predicted` is what
`--dry-run --hardware` says, without reading. Of one worker, and of the profile's operations, the time is that of the
processor, which other programs do not change much: the median of the steps. Of two it is by the clock, since one waits
for the other: the quickest step, in the slower worker, over --rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.distributed as dist
from hardware import hardware

import autovid.measure
from autovid import distributed
from autovid.clip import Clip
from autovid.costs.machine import MachineProfile, read_machine_profile
from autovid.data import Batch, Video, VideoSet
from autovid.kernels.allocator import keep_memory
from autovid.kernels.compute import Compute
from autovid.models import Model, NetworkSpec, build, load_model
from autovid.run import Progress, seed_step
from autovid.search import settings_for, supernet
from autovid.search.plan import SearchPlan
from autovid.search.task import SearchTask
from autovid.space import load_space
from autovid.studies.prediction import SearchWork, StepSeconds, TrainingWork
from autovid.studies.profile import measure_machine, write_machine_profile
from autovid.train.recipe import Recipe, make_recipe
from autovid.train.task import TrainingTask, prepare

CLIPS, CLASSES = 8, 12
NETWORKS = {  # frames and crop
    "an architecture of tiny": ("tiny", 16, 32),
    "X3D-S": ("x3d_s", 8, 96),
    "TSN-ResNet-18": ("tsn_resnet18", 8, 112),
    "SlowOnly-34": ("slowonly_r34_8x8", 8, 64),
    "Auto-TSNet-S": ("auto_tsnet_s", 16, 64),
}
SEARCH = "search in tiny"
FIRST = 300  # step of the search, behind the warm-up of the prior


class Memory:
    """A loader of one batch of noise, again and again."""

    def __init__(self, _videos: Any, _root: Any, clip: Clip, *, batch: int, **_: Any) -> None:
        own = batch // distributed.size()
        x = torch.randn(own, 3, clip.frames, clip.crop, clip.crop).contiguous(memory_format=torch.channels_last_3d)
        self._batch = Batch(x, torch.arange(own) % CLASSES, torch.arange(own))
        self.steps_per_epoch = 1000

    def batches(self, first: int, last: int) -> Iterator[Batch]:
        for _ in range(first, last):
            yield self._batch

    def close(self) -> None:
        """Nothing is open."""


def trained(name: str, frames: int, crop: int, workers: int) -> tuple[Model, Recipe]:
    """A network, and its recipe."""
    model = load_space(name).sample(1)[0] if name == "tiny" else load_model(name)
    recipe = make_recipe(
        model, name="proxy", batch=CLIPS * workers, precision="fp32", frames=frames, crop=crop, validate_every=0
    )
    if isinstance(model, NetworkSpec):
        model = model.changed(classes=CLASSES, frames=frames, crop=crop)
    return model, recipe


def searched(workers: int) -> SearchPlan:
    """The search, as it is planned."""
    space, clip = load_space("tiny"), {"frames": 16, "crop": 32}
    settings = settings_for(space, proxy=False, videos=10**6, batch=CLIPS * workers, steps=1000, beta=0.0, **clip)
    return SearchPlan("search", space, settings, (), "", CLASSES, workers)


def predicted(name: str, machine: MachineProfile, workers: int) -> StepSeconds:
    """What is predicted; of the search a step of its first part."""
    if name == SEARCH:
        return SearchWork(searched(workers)).step_of(0, machine, workers)
    return TrainingWork(*trained(*NETWORKS[name], workers), CLASSES, 96, 24).step(machine, workers)


def task_of(name: str) -> Callable[[int], Any]:
    """What is measured: a step, by its number."""
    compute = Compute("cpu", "fp32")
    if name == SEARCH:
        plan = searched(distributed.size())
        videos = tuple(Video(str(number), number % CLASSES) for number in range(20 * CLASSES))
        data = VideoSet("memory", Path(), tuple(map(str, range(CLASSES))), videos, videos[:CLASSES])
        supernet.ClipLoader = Memory  # type: ignore[assignment, misc]
        net = supernet.Supernet(plan.space, data, plan.settings, compute, 0, None)
        search = SearchTask(plan.space, plan.settings, supernet=net)
        return lambda index: search.step(FIRST + index)
    model, recipe = trained(*NETWORKS[name], distributed.size())
    net = prepare(build(model, CLASSES), recipe)
    loader: Any = Memory(None, None, recipe.clip(net.clip), batch=recipe.batch)
    return TrainingTask(net, loader, recipe, compute, 10**6, {}).step


def work(steps: int) -> dict[str, float]:
    """A step of every task, in seconds."""
    torch.set_num_threads(1)
    keep_memory()
    found = {}
    for name in (*NETWORKS, SEARCH):
        step, times = task_of(name), []
        several = distributed.size() > 1
        now = time.perf_counter if several else time.process_time
        for index in range(steps + 2):
            seed_step(0, index)
            if several:
                dist.barrier()
            start = now()
            step(index)
            times.append(now() - start)
        found[name] = min(times[2:]) if several else statistics.median(times[2:])
    return found


def measured(workers: int, steps: int) -> dict[str, float]:
    """What the slowest of some workers has measured."""
    with tempfile.TemporaryDirectory() as folder:
        processes = [
            subprocess.Popen(
                [sys.executable, __file__, "--as-worker", "--steps", str(steps)],
                env={**os.environ, **distributed.local_meeting(workers, Path(folder) / "meeting", rank)},
                stdout=subprocess.PIPE,
            )
            for rank in range(workers)
        ]  # fmt: skip
        results = [json.loads(process.communicate()[0]) for process in processes]
    return {name: max(one[name] for one in results) for name in results[0]}


def profile(file: Path | None) -> MachineProfile:
    """The machine: read, or measured now."""
    if file is not None and file.exists():
        return read_machine_profile(file)
    torch.set_num_threads(1)
    autovid.measure.time = SimpleNamespace(perf_counter=time.process_time)  # type: ignore[assignment]
    machine = measure_machine(Compute("cpu", "fp32"), progress=Progress("profile", sys.stderr))
    if file is not None:
        write_machine_profile(file, machine)
    return machine


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3, help="of two workers")
    parser.add_argument("--profile", type=Path, help="the machine's file: read if it is there, else written")
    parser.add_argument("--as-worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.as_worker:
        with distributed.process_group():
            print(json.dumps(work(args.steps)))
        return
    keep_memory()
    machine = profile(args.profile)
    print(
        f"# Predicted steps against measured ones\n\n{hardware()}; one thread a worker, gloo, {CLIPS} clips a worker.\n"
    )
    print("| step | workers | predicted (ms) | of it messages | measured (ms) | error |\n|---|---|---:|---:|---:|---:|")
    for workers in (1, 2):
        rounds = [measured(workers, args.steps) for _ in range(args.rounds if workers > 1 else 1)]
        for name in rounds[0]:
            seconds = min(one[name] for one in rounds)
            step = predicted(name, machine, workers)
            said, error = step.compute + step.exchange, (step.compute + step.exchange) / seconds - 1
            cells = (f"{1e3 * one:.0f}" for one in (said, step.exchange, seconds))
            print(f"| {name} | {workers} | {' | '.join(cells)} | {error:+.0%} |", flush=True)


if __name__ == "__main__":
    main()
