"""The time of a training or a search on a machine that was measured, on any number of workers, by its profile.

Seconds of a step are the sum of those of its operations (`autovid.costs`), of the messages between workers and of
reading clips. On GPUs messages are sent while backward runs, and clips are read meanwhile by the cores beside; on a CPU
the same cores do all of it, one after the other. What is not counted: the start, checkpoints, and workers that wait for
a slower one. Ours.
"""

import math
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from autovid.clip import Clip
from autovid.costs.machine import MachineProfile
from autovid.costs.operations import Operation, StepTrace, optimizer_operation, trace_step
from autovid.errors import ConfigError
from autovid.measure import StepMemory, gib
from autovid.models import Model, NetworkSpec, SearchNetwork, build, build_network, build_space
from autovid.run.progress import long_duration
from autovid.search.choice import passed_clips
from autovid.search.plan import DRAWS, SearchPlan
from autovid.search.plan import step_memory as search_memory
from autovid.search.problem import whole_problem
from autovid.space import Architecture, SearchSpace
from autovid.space.schema import JOINT
from autovid.train.plan import step_memory
from autovid.train.recipe import Recipe
from autovid.train.task import prepare

PAYS = 0.5  # of what a worker alone does in a second, that each of several has to do
FIGURES = 3  # small messages of a step: loss, top-1 and the question whether to stop
SGD = (3, 2, 3, 3)  # numbers that torch's unfused SGD moves for each weight: decay, momentum twice, the weight


class StepSeconds(NamedTuple):
    """Seconds of a step: computing, waiting for messages, and reading its clips with a worker's cores."""

    compute: float
    exchange: float
    reading: float
    overlaps: bool  # clips are read while the step is computed

    @property
    def total(self) -> float:
        """Return the seconds of the whole step."""
        busy = self.compute + self.exchange
        return max(busy, self.reading) if self.overlaps else busy + self.reading


class Workload(Protocol):
    """A training or a search, to be predicted."""

    batch: int
    steps: int
    parts: int  # that each worker's share of a batch goes through the network in

    def step(self, machine: MachineProfile, workers: int) -> StepSeconds:
        """Return the seconds of a step, each worker's."""

    def forward_clips(self) -> int:
        """Return how many clips pass the network beside the steps, in validations or in a choice."""

    def forward(self, machine: MachineProfile) -> float:
        """Return the seconds of such a clip on one worker."""

    def clip_seconds(self, machine: MachineProfile) -> float:
        """Return the seconds of a core for a clip; 0 where decoding was not measured."""

    def memory(self, machine: MachineProfile, workers: int) -> StepMemory:
        """Count the memory of a step of each worker."""


class TrainingWork:
    """The training of a network by a recipe, on so many videos."""

    def __init__(self, model: Model, recipe: Recipe, classes: int, train: int, val: int) -> None:
        self.model, self.recipe, self.classes = model, recipe, classes
        self.batch, self.steps, self.parts, self._val = recipe.batch, recipe.steps(train), recipe.accumulate, val
        if isinstance(model, NetworkSpec):
            spec = model.changed(classes=classes, frames=recipe.frames, crop=recipe.crop)
            net = build_network(spec, "meta")
        else:
            net = build(model, classes).to("meta")
        prepare(net, recipe)
        self._clip = recipe.clip(net.clip)
        self.trace = trace_step(net, lambda x, y: net.training_loss(x, y)[0], self._clip)

    def step(self, machine: MachineProfile, workers: int) -> StepSeconds:
        parts = self.parts
        clips = self.batch / workers / parts
        times = machine.seconds(self.trace.at(clips))
        weights = self.trace.weights
        moved = [optimizer_operation(weights, self.recipe.optimizer == "adamw"), _of("reduction", 4 * weights)]
        moved += [_of("elementwise", 12 * weights)] * (self.recipe.ema is not None)
        exchange = messages_seconds(machine, workers, self.trace, times)
        if self.recipe.sync_norm:
            exchange += 2 * parts * self.trace.norms * machine.exchange_seconds(0, workers)
        reading = parts * clips * self.clip_seconds(machine) / machine.cores
        compute = machine.slowdown(workers) * (parts * sum(times) + sum(machine.seconds(moved)))
        return StepSeconds(compute, exchange, reading, machine.device == "cuda")

    def forward_clips(self) -> int:
        interval = self.recipe.validation_interval
        return self._val * math.ceil(self.recipe.epochs / interval - 1e-9) if interval else 0

    def forward(self, machine: MachineProfile) -> float:
        return forward_seconds(machine, self.trace)

    def clip_seconds(self, machine: MachineProfile) -> float:
        augmented = self.recipe.augment != "none"
        return machine.decoding.seconds(self._clip, augmented) if machine.decoding else 0.0

    def memory(self, machine: MachineProfile, workers: int) -> StepMemory:
        return step_memory(self.model, self.recipe, self.classes, workers, machine.precision != "fp32")


class SearchWork:
    """A search by a supernet. In each part an architecture of mean MACs stands for all that may be drawn."""

    def __init__(self, plan: SearchPlan) -> None:
        self._plan, self._settings = plan, plan.settings
        settings, space = plan.settings, plan.space
        self.batch, self.steps, self.parts = settings.batch, sum(part.steps for part in settings.parts), 1
        self._clip = Clip(settings.frames, settings.crop, settings.stride)
        with torch.device("meta"):
            net = build_space(space, plan.classes)
        self.tensors = sum(1 for _ in net.parameters())
        self.traces = []
        for number, part in enumerate(settings.parts):
            arch = _of_mean_macs(space if part.name == JOINT else space.part_space(number, {}), settings.seed)
            self.traces.append(trace_step(net, partial(_loss, net, arch), self._clip))

    def step(self, machine: MachineProfile, workers: int) -> StepSeconds:
        """Return the mean over the parts' updates."""
        compute = exchange = reading = 0.0
        for number, part in enumerate(self._settings.parts):
            one, share = self.step_of(number, machine, workers), part.steps / self.steps
            compute, exchange = compute + share * one.compute, exchange + share * one.exchange
            reading += share * one.reading
        return StepSeconds(compute, exchange, reading, machine.device == "cuda")

    def step_of(self, part: int, machine: MachineProfile, workers: int) -> StepSeconds:
        """Return the seconds of a step in a part of the search."""
        trace, every = self.traces[part], self._settings.alpha_every
        divided = self._settings.divides_batch(workers)
        clips = self.batch / workers if divided else self.batch
        learned, scored = (count if divided else math.ceil(count / workers) for count in self._plan.architectures)
        operations = trace.at(clips)
        times = machine.seconds(operations)
        forward = sum(time for time, one in zip(times, operations) if not one.backward)
        each = 4 * trace.weights / self.tensors  # bytes of a tensor of weights
        step = self.tensors * sum(machine.seconds([_of("elementwise", numbers * each) for numbers in SGD]))
        if self._settings.optimizer == "adamw":  # fused, as in a training
            step = sum(machine.seconds([optimizer_operation(trace.weights, True)]))
        compute = machine.slowdown(workers) * (learned * sum(times) + scored / every * forward + step)
        reading = (1 + 1 / every) * self.batch / workers * self.clip_seconds(machine) / machine.cores
        if workers == 1:
            return StepSeconds(compute, 0.0, reading, machine.device == "cuda")
        exchange = machine.exchange_seconds(4 * trace.weights, workers) + FIGURES * machine.exchange_seconds(0, workers)
        if divided:
            norms = (2 + 1 / every) * trace.norms if self._settings.sync_norm else 0
            exchange += learned * (1 + norms) * machine.exchange_seconds(0, workers)
        else:  # clips are gathered, which is half a sum
            exchange += (1 + 1 / every) * machine.exchange_seconds(self.batch * self._clip_bytes / 2, workers)
        return StepSeconds(compute, exchange, reading, machine.device == "cuda")

    @property
    def _clip_bytes(self) -> int:
        return 4 * 3 * self._clip.frames * self._clip.crop**2

    def forward_clips(self) -> int:
        return passed_clips(self._settings.choice) if self._settings.choice else 0

    def forward(self, machine: MachineProfile) -> float:
        return forward_seconds(machine, self.traces[-1])

    def clip_seconds(self, machine: MachineProfile) -> float:
        return machine.decoding.seconds(self._clip, False) if machine.decoding else 0.0

    def memory(self, machine: MachineProfile, workers: int) -> StepMemory:
        half, plan = machine.precision != "fp32", self._plan
        return search_memory(plan.space, plan.settings, plan.classes, workers, half, plan.constraints)


def messages_seconds(machine: MachineProfile, workers: int, trace: StepTrace, times: list[float]) -> float:
    """Return what a training step waits for: gradients, in messages, and a few figures.

    On CUDA a message is sent when its gradients are there and all before it have arrived. `times` are the operations'.
    """
    if workers == 1:
        return 0.0
    done = np.cumsum(times)
    arrived, sending, copying = 0.0, 0.0, 0.0
    for moved, after in trace.messages:
        seconds = machine.exchange_seconds(moved, workers)
        arrived = max(arrived, float(done[after - 1])) + seconds
        sending += seconds
        copying += 2 * sum(machine.seconds([_of("copy", 2 * moved)]))  # into the message, and out of it
    waiting = max(0.0, arrived - float(done[-1])) if machine.device == "cuda" else sending
    return waiting + copying + FIGURES * machine.exchange_seconds(0, workers)


def forward_seconds(machine: MachineProfile, trace: StepTrace) -> float:
    """Return the seconds of a clip's forward pass, in a batch of eight."""
    operations = trace.at(8)
    return sum(t for t, one in zip(machine.seconds(operations), operations) if not one.backward) / 8


class Widest(NamedTuple):
    """The most workers that still pay, and what each does of what one alone would."""

    workers: int
    share: float


def widest(work: Workload, machine: MachineProfile) -> Widest:
    """Return the most workers of which each does at least PAYS of what one alone would; they divide the batch."""
    alone, best = work.step(machine, 1).total, Widest(1, 1.0)
    for workers in range(2, work.batch // work.parts + 1):
        if work.batch % (workers * work.parts) == 0:
            share = alone / (workers * work.step(machine, workers).total)
            best = Widest(workers, share) if share >= PAYS else best
    return best


def check_workers(work: Workload, workers: int) -> None:
    """Raise ConfigError where a batch does not divide among workers."""
    if work.batch % (workers * work.parts):
        parts = f" in {work.parts} parts" * (work.parts > 1)
        raise ConfigError(f"a batch of {work.batch} clips does not divide among {workers} workers{parts}; give --batch")


def describe(work: Workload, machine: MachineProfile, workers: int) -> list[str]:
    """Write what a step and the whole cost. Raises ConfigError where they cannot be predicted."""
    check_workers(work, workers)
    step, clip = work.step(machine, workers), work.clip_seconds(machine)
    beside = machine.slowdown(workers) * work.forward_clips() * work.forward(machine) / workers
    whole = work.steps * step.total + beside
    unit = "GPU" if machine.device == "cuda" else "worker"
    lines = [
        f"by       {machine.about()}",
        f"step     {step.total:.3g} s on {_count(workers, unit)}: {step.compute:.3g} s to compute, "
        f"{step.exchange:.2g} s of waiting for messages ({step.exchange / step.total:.0%})",
        f"whole    {long_duration(whole)}: {work.steps:,} steps"
        + (f", {long_duration(beside)} of passes beside them" if beside else "")
        + f"; {whole * workers / 3600:,.3g} {unit}-hours",
    ]
    if clip:
        needed = clip * work.batch / workers / (step.compute + step.exchange)
        slower = "" if step.overlaps and needed <= machine.cores else f"; reading is {_reading(step):.0%} of a step"
        lines.append(
            f"reading  {clip:.2g} s of a core for a clip, from videos of 340x256: {needed:.2g} cores a {unit} keep up, "
            f"{machine.cores:.3g} are there{slower}"
        )
    else:
        lines.append("reading  not measured, and taken to wait for nothing")
    memory = work.memory(machine, workers).total
    fits = "" if memory <= machine.memory else "; that does not fit"
    lines.append(f"memory   about {gib(memory)} of {gib(int(machine.memory))} a {unit}, counted from shapes{fits}")
    if workers == 1 and machine.exchange is None:
        return lines
    most = widest(work, machine)
    lines.append(
        f"widest   {_count(most.workers, unit)}, each of which does {most.share:.0%} of what one alone does; "
        f"with more of them it is less than {PAYS:.0%}, or the batch of {work.batch} does not divide"
    )
    return lines


def _reading(step: StepSeconds) -> float:
    """Return the share of a step that reading adds."""
    return 1 - (step.compute + step.exchange) / step.total


def _count(number: int, unit: str) -> str:
    return f"{number:,} {unit}{'s' * (number != 1)}"


def _of_mean_macs(space: SearchSpace, seed: int) -> Architecture:
    rows = whole_problem(space, ()).sample(DRAWS, np.random.default_rng(seed))
    macs = space.cost_table().total(rows)
    return space.architecture(rows[int(np.abs(macs - macs.mean()).argmin())])


def _loss(net: SearchNetwork, arch: Architecture, x: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(net(x, arch), y)


def _of(family: str, moved: float) -> Operation:
    return Operation(family, False, 0.0, moved)
