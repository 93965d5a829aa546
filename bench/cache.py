"""What a loader costs a training step of `tiny`, with decoded frames kept in memory and without: prints Markdown.

    python bench/cache.py [--rounds 40] > bench/results/cache.md

The step: an architecture of `tiny`, 16 clips of 16 frames of 32x32, on one thread; the clips: of the embedded set (64
frames of 72x72 each), as `autovid train` cuts them, in the process that trains. Both loaders give the same clips, which
is checked to the bit. Every round measures a batch of each and a step, one after the other. It is CPU time, so that
other programs on the machine count less; all of it is of one thread. A share is loader / (loader + step). Target: at
most 5 % with frames in memory.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from hardware import hardware

from autovid.clip import Clip
from autovid.data import Batch, ClipLoader, open_videos
from autovid.data.clips import generator
from autovid.data.frame_cache import FrameCache
from autovid.data.loader import normalised
from autovid.data.transforms import Cutting
from autovid.fileio import size_text
from autovid.kernels.allocator import keep_memory
from autovid.kernels.compute import Compute
from autovid.models import build
from autovid.run import seed_step
from autovid.space import load_space
from autovid.train.recipe import Recipe, make_recipe
from autovid.train.task import TrainingTask, prepare
from autovid.train.train import loader_of

BATCH, FRAMES, CROP = 16, 16, 32
SIZE = 10**9
SIDE = 72  # of the set's frames
WARMUP = 3  # rounds
TARGET = 5.0  # percent


class OneBatch:
    """A loader that has its batch already."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    def batches(self, first_step: int, last_step: int) -> Iterator[Batch]:
        """Yield it again and again."""
        for _ in range(first_step, last_step):
            yield self.batch


class Times(NamedTuple):
    """CPU milliseconds of a batch decoded, one from memory, a step, and the parts of the second."""

    decoded: float
    kept: float
    step: float
    parts: list[float]


def milliseconds(work: Callable[[], Any]) -> float:
    """CPU time of a call."""
    start = time.process_time()
    work()
    return 1000 * (time.process_time() - start)


def parts(recipe: Recipe, clip: Clip) -> dict[str, Callable[[], Any]]:
    """What there is to do for a batch after decoding, each on pictures of the set's size."""
    rng = np.random.default_rng(0)
    videos = [rng.integers(0, 256, (FRAMES, SIDE, SIDE, 3), dtype=np.uint8) for _ in range(BATCH)]
    cutting = Cutting(recipe.crops, CROP, recipe.jitter, recipe.area, False)
    squares = np.stack([cutting.draw(rng).cut(frames) for frames in videos])
    return {
        "random numbers": lambda: [cutting.draw(generator("clip", 0, 3, place)) for place in range(BATCH)],
        "crop and resize": lambda: [cutting.draw(rng).cut(frames) for frames in videos],
        "stack": lambda: np.stack(list(squares)),
        "normalise": lambda: normalised(squares, clip),
    }


def measure(
    loaders: Sequence[ClipLoader], task: TrainingTask, after: Sequence[Callable[[], Any]], rounds: int
) -> list[Times]:
    """Measure so many rounds, after the first epoch."""
    streams = [loader.batches(loader.steps_per_epoch, 10**6) for loader in loaders]
    times = []
    for index in range(WARMUP + rounds):
        seed_step(0, index)
        batches: list[Batch] = []
        decoded, kept = (milliseconds(partial(_take, stream, batches)) for stream in streams)
        assert all(torch.equal(a, b) for a, b in zip(*batches)), "other clips"
        step = milliseconds(partial(task.step, index))
        times.append(Times(decoded, kept, step, [milliseconds(part) for part in after]))
    return times[WARMUP:]


def _take(stream: Iterator[Batch], batches: list[Batch]) -> None:
    batches.append(next(stream))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=40)
    rounds = parser.parse_args().rounds
    keep_memory()
    torch.set_num_threads(1)
    videos, arch = open_videos("synthetic"), load_space("tiny").sample(1)[0]
    recipe = make_recipe(arch, name="proxy", batch=BATCH, frames=FRAMES, crop=CROP, precision="fp32")
    net = prepare(build(arch, classes=len(videos.classes)), recipe)
    after = parts(recipe, recipe.clip(net.clip))
    with FrameCache(videos.train, videos.root, SIZE) as cache:
        loaders = [loader_of(recipe, videos, net, cache=each) for each in (None, cache)]
        epoch = loaders[0].steps_per_epoch
        first = [milliseconds(lambda one=one: list(one.batches(0, epoch))) / epoch for one in loaders]
        batch: Any = OneBatch(next(loaders[1].batches(0, 1)))
        task = TrainingTask(net, batch, recipe, Compute("cpu", "fp32"), 10**6, {})
        times = measure(loaders, task, list(after.values()), rounds)
        report(times, first, list(after), size_text(cache.used))


def report(times: list[Times], first: list[float], after: list[str], used: str) -> None:
    """Print the medians."""
    decoded, kept, step = (
        statistics.median(getattr(one, name) for one in times) for name in ("decoded", "kept", "step")
    )
    shares = [statistics.median(100 * one[n] / (one[n] + one.step) for one in times) for n in (0, 1)]
    costs = [statistics.median(column) for column in zip(*(one.parts for one in times))]
    outcome = f"≤ {TARGET:g} %: {'reached' if shares[1] <= TARGET else 'missed'}"
    print(f"# Frames in memory\n\n{hardware()}; {len(times)} rounds, medians of CPU time.\n")
    print(f"`tiny`, {BATCH} clips of {FRAMES} frames of {CROP}x{CROP}; a training step takes {step:.1f} ms.\n")
    print("| | first epoch, ms a batch | then, ms a batch | share of a training step | target |")
    print("|---|---:|---:|---:|---|")
    print(f"| decoded each time | {first[0]:.1f} | {decoded:.1f} | {shares[0]:.1f} % | |")
    print(f"| frames in memory, {used} | {first[1]:.1f} | {kept:.2f} | {shares[1]:.1f} % | {outcome} |")
    print("\nAfter decoding, ms a batch: " + ", ".join(f"{name} {cost:.2f}" for name, cost in zip(after, costs)) + ".")


if __name__ == "__main__":
    main()
