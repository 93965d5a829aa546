"""What must hold on a CUDA device for steps of a search and of a training, on clips that are made in memory."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from comparing import Finding, distance

import autovid
from autovid.clip import Clip
from autovid.data import Batch, Video, VideoSet
from autovid.data.loader import normalised
from autovid.kernels.compute import Compute
from autovid.models import NetworkSpec, build_network
from autovid.run.checkpoint import read_checkpoint, write_checkpoint
from autovid.search import settings_for, supernet
from autovid.search.supernet import Supernet
from autovid.train import make_recipe
from autovid.train.task import TrainingTask

CLASSES = 4
LOSS = 2.0**-10  # of an fp32 loss behind some 30 layers: 16,000 roundings; TF32 errs as much in every product


class MemoryLoader:
    """A loader of noise: batch i is a pure function of i, as of a `ClipLoader`, and takes the same way to a device."""

    def __init__(self, videos: Sequence[Video], root: Path, clip: Clip, *, batch: int, **_: Any) -> None:
        self.clip, self.batch, self.steps_per_epoch = clip, batch, max(1, len(videos) // batch)
        self.labels = torch.arange(batch) % CLASSES

    def batches(self, first: int, last: int) -> Iterator[Batch]:
        for step in range(first, last):
            side, frames = self.clip.crop, self.clip.frames
            pixels = np.random.default_rng(step).integers(0, 256, (self.batch, frames, side, side, 3), dtype=np.uint8)
            yield Batch(normalised(pixels, self.clip), self.labels, torch.arange(self.batch))

    def close(self) -> None:
        """Nothing is open."""


def open_supernet(name: str, compute: Compute, **changes: Any) -> Supernet:
    """The supernet of a space as a search opens it, over clips in memory."""
    space = autovid.load_space(name)
    videos = tuple(Video(f"{number}", number % CLASSES) for number in range(16 * CLASSES))
    data = VideoSet("memory", Path(), tuple(map(str, range(CLASSES))), videos, videos[:CLASSES])
    settings = settings_for(space, videos=len(videos), steps=100_000, **{"proxy": True, **changes})
    with mock.patch.object(supernet, "ClipLoader", MemoryLoader):
        return Supernet(space, data, settings, compute, 0, None)


def drawn(name: str, count: int) -> tuple[Any, np.ndarray]:
    """A space, and some of its architectures as choices."""
    space = autovid.load_space(name)
    return space, space.index(space.sample(count, seed=0))


def learning(device: torch.device) -> Iterator[Finding]:
    """A search step in fp32 as on the CPU; a training that is resumed equals one that is not."""
    yield from search_step(device)
    yield from resumed(device)


def search_step(device: torch.device) -> Iterator[Finding]:
    """The losses of three architectures, the weights after a step, and the scores after it."""
    space, choices = drawn("tiny", 3)
    weights, numbers = [], []
    for where in ("cpu", str(device)):
        net = open_supernet("tiny", Compute(where, "fp32"), batch=8)
        net.begin_step(0, 100)
        loss = net.learn(space, choices, "likelihood", "mean", 0.05)
        scores = net.score(space, choices)
        numbers.append(torch.tensor([loss, *scores.log_likelihood_K]))
        weights.append(torch.cat([p.detach().cpu().flatten() for p in net.net.parameters()]))
        net.close()
    yield Finding("search step, losses", distance(numbers[1], numbers[0]), LOSS)
    yield Finding("search step, weights after it", distance(weights[1], weights[0]), LOSS)


def resumed(device: torch.device) -> Iterator[Finding]:
    """Four steps at once, twice, and as two and two through a checkpoint."""
    before = torch.backends.cudnn.deterministic
    for deterministic in (False, True):
        torch.backends.cudnn.deterministic = deterministic
        whole, again = (final(train(device, 0, 4)) for _ in range(2))
        halfway = train(device, 0, 2)
        with tempfile.TemporaryDirectory() as folder:
            _, state = read_checkpoint(write_checkpoint(Path(folder), 2, halfway.state(), "", False))
        parts = final(train(device, 2, 4, state))
        how = "cudnn.deterministic" if deterministic else "cuDNN as it comes"
        repeats = distance(again, whole)
        yield Finding(f"training repeated, {how} (0: bit for bit)", repeats, None)
        allowed = 2 * repeats if deterministic else None
        yield Finding(f"training resumed, {how} (0: bit for bit)", distance(parts, whole), allowed)
    torch.backends.cudnn.deterministic = before


def train(device: torch.device, first: int, last: int, state: Any = None) -> TrainingTask:
    """Steps of a training, from a checkpoint where there is one."""
    torch.manual_seed(0)
    net = build_network(NetworkSpec(network="x3d_xs", classes=CLASSES, frames=4, crop=32))
    recipe = make_recipe(NetworkSpec(network="x3d_xs"), name="proxy", batch=8, frames=4, crop=32, precision="fp32")
    loader: Any = MemoryLoader((), Path(), net.clip, batch=8)
    task = TrainingTask(net, loader, recipe, Compute(str(device), "fp32"), 4, {})
    if state is not None:
        task.load(copy.deepcopy(state))
    for step in range(first, last):
        torch.manual_seed(step)
        task.step(step)
    return task


def final(task: TrainingTask) -> torch.Tensor:
    """All weights and statistics."""
    return torch.cat([tensor.detach().cpu().double().flatten() for tensor in task.net.state_dict().values()])
