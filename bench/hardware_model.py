"""A machine's profile held against measurement: steps of training and search, with 1 and 2 workers; prints Markdown.

    python bench/hardware_model.py [--steps 8] [--profile FILE] > bench/results/hardware_model.md

The machine is measured as `autovid profile --threads 1 --precision fp32` does it; then steps are, of a training of five
networks and of a search by the published recipe (K = 13, learning and scoring), by processes of one thread with 8 clips
of their own a step. Clips lie in memory. None of the networks was used to choose what the profile measures. `predicted`
is what `--dry-run --hardware` says, without reading. Of one worker, and of the profile's operations, the time is that
of the processor, and the quickest counts. Other programs still take caches and memory, now more and then less: so some
of the profile's operations are measured once more before each row's steps, and what is measured is brought to the
profile's pace (the column). Of two workers the time is by the clock, since one waits for the other: the quickest step,
in the slower worker, over --rounds.
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
from autovid.costs.operations import FAMILIES
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
from autovid.studies.profile import case_passes, cases, count_case, measure_machine, quickest, write_machine_profile
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


def pace_of(machine: MachineProfile) -> float:
    """How many times as long as in the profile its operations take now: the median over one of each kind."""
    compute = Compute("cpu", "fp32")
    known = {
        (family, backward, one.macs, one.bytes, one.weights): one.seconds
        for family, rates in machine.operations.items()
        for backward, some in enumerate((rates.forward, rates.backward))
        for one in some
    }
    chosen = [every[len(every) // 2] for every in map(list, map(cases, FAMILIES))]
    counted = [operation for case in chosen for operation in count_case(case)]
    now = quickest([one for case in chosen for one in case_passes(case, compute)], compute.device)
    pairs = [(seconds, known.get(one)) for one, seconds in zip(counted, now) if one is not None]  # type: ignore[arg-type]
    return statistics.median(seconds / before for seconds, before in pairs if before)


def work(steps: int, machine: MachineProfile) -> dict[str, tuple[float, float]]:
    """A step of every task, in seconds, and the pace."""
    found = {}
    for name in (*NETWORKS, SEARCH):
        step, times = task_of(name), []
        several = distributed.size() > 1
        pace = 1.0 if several else pace_of(machine)
        now = time.perf_counter if several else time.process_time
        for index in range(steps + 2):
            seed_step(0, index)
            if several:
                dist.barrier()
            start = now()
            step(index)
            times.append(now() - start)
        found[name] = min(times[2:]) / pace, pace
    return found


def measured(workers: int, steps: int, file: Path) -> dict[str, tuple[float, float]]:
    """What the slowest of some workers has measured."""
    with tempfile.TemporaryDirectory() as folder:
        processes = [
            subprocess.Popen(
                [sys.executable, __file__, "--as-worker", "--steps", str(steps), "--profile", str(file)],
                env={**os.environ, **distributed.local_meeting(workers, Path(folder) / "meeting", rank)},
                stdout=subprocess.PIPE,
            )
            for rank in range(workers)
        ]  # fmt: skip
        results = [json.loads(process.communicate()[0]) for process in processes]
    return {name: max(tuple(one[name]) for one in results) for name in results[0]}


def profile(file: Path) -> MachineProfile:
    """The machine: read, or measured now and written. Steps here are in fp32, so that the profile must be as well."""
    if file.exists():
        machine = read_machine_profile(file)
        if machine.precision != "fp32":
            raise SystemExit(f"{file} is of {machine.precision}: autovid profile --threads 1 --precision fp32 -o FILE")
        return machine
    machine = measure_machine(Compute("cpu", "fp32"), progress=Progress("profile", sys.stderr))
    write_machine_profile(file, machine)
    return machine


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3, help="of two workers")
    parser.add_argument("--profile", type=Path, help="the machine's file: read if it is there, else written")
    parser.add_argument("--workers", type=int, choices=[1, 2], default=2, help="at most")
    parser.add_argument("--as-worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    autovid.measure.time = SimpleNamespace(perf_counter=time.process_time)  # type: ignore[assignment]
    keep_memory()
    torch.set_num_threads(1)
    if args.profile is None:
        with tempfile.TemporaryDirectory() as folder:
            report(args, Path(folder) / "machine.json")
    else:
        report(args, args.profile)


def report(args: argparse.Namespace, file: Path) -> None:
    """Measures and prints, by a profile that is read, or measured now and written."""
    machine = profile(file)
    if args.as_worker:
        with distributed.process_group():
            print(json.dumps(work(args.steps, machine)))
        return
    print(
        f"# Predicted steps against measured ones\n\n{hardware()}; one thread a worker, gloo, {CLIPS} clips a worker.\n"
    )
    print("| step | workers | predicted (ms) | of it messages | measured (ms) | pace | error |")
    print("|---|---|---:|---:|---:|---:|---:|")
    for workers in range(1, args.workers + 1):
        rounds = [measured(workers, args.steps, file) for _ in range(args.rounds if workers > 1 else 1)]
        for name in rounds[0]:
            seconds, pace = min(one[name] for one in rounds)
            step = predicted(name, machine, workers)
            said, error = step.compute + step.exchange, (step.compute + step.exchange) / seconds - 1
            cells = (f"{1e3 * one:.0f}" for one in (said, step.exchange, seconds))
            print(f"| {name} | {workers} | {' | '.join(cells)} | {pace:.2f} | {error:+.0%} |", flush=True)


if __name__ == "__main__":
    main()
