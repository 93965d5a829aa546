"""The plan of a search, before it begins: its space, ranges, data, steps, memory and time.

The memory of an update is counted from shapes. The graph of one architecture is in memory at a time
(`autovid.search.supernet`): the largest of some that the search may draw stands for all. Ours.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from autovid import distributed
from autovid.clip import Clip
from autovid.costs import Macs, Memory, convention
from autovid.costs.step_memory import clip_seconds
from autovid.kernels.compute import Compute
from autovid.measure import StepMemory, gib
from autovid.models import build, build_space
from autovid.run.progress import long_duration
from autovid.search.constraints import Constraint, final_constraints, settled_note
from autovid.search.problem import whole_problem
from autovid.search.settings import SearchSettings
from autovid.space import SearchSpace
from autovid.space.schema import Reference

DRAWS = 64


def step_memory(
    space: SearchSpace,
    settings: SearchSettings,
    classes: int,
    workers: int,
    half: bool,
    constraints: Sequence[Constraint] = (),
) -> StepMemory:
    """Count an update as each of the `workers` does it; `half`: in half precision."""
    clip = Clip(settings.frames, settings.crop, settings.stride)
    inside = final_constraints(constraints, space) if settings.options.get("in_range") else ()
    rows = whole_problem(space, inside).sample(DRAWS, np.random.default_rng(settings.seed))
    kept = int(Memory().table(space, Reference.of(clip, classes)).total(rows).max())
    with torch.device("meta"):
        weights = sum(tensor.nbytes for tensor in build_space(space, classes).state_dict().values())
    # architectures side by side: each worker has the whole batch
    clips = max(1, settings.batch // workers) if settings.divides_batch(workers) else settings.batch
    return StepMemory(3 * weights, kept // (2 if half else 1), clips, settings.batch)


def check_memory(
    space: SearchSpace, settings: SearchSettings, classes: int, compute: Compute, constraints: Sequence[Constraint] = ()
) -> StepMemory:
    """Return the memory of an update. Raises ConfigError where it does not fit into a CPU's."""
    half = compute.precision.train == "bf16"
    memory = step_memory(space, settings, classes, distributed.size(), half, constraints)
    memory.check(compute.device)
    return memory


FORWARD = 1 / 3  # of the time of a forward and a backward pass


class SearchPlan(NamedTuple):
    """A search to plan. `data` is a sentence; `budget` are the seconds that steps are still to be planned for."""

    about: str
    space: SearchSpace
    settings: SearchSettings
    constraints: tuple[Constraint, ...]
    data: str
    classes: int
    workers: int = 1
    budget: float | None = None

    @property
    def memory(self) -> StepMemory:
        """Count the memory of a step in fp32, as each of the workers does it."""
        return step_memory(self.space, self.settings, self.classes, self.workers, False, self.constraints)

    def seconds(self) -> float:
        """Time a clip of one architecture on this CPU; return what all updates and scores take, without decoding."""
        settings = self.settings
        net = build(self.space.sample(1, seed=settings.seed)[0], self.classes)
        one = clip_seconds(net, Clip(settings.frames, settings.crop, settings.stride))
        learned = settings.archs_per_update or settings.options.get("samples", 1)
        learned = learned if isinstance(learned, int) else 1
        scored = settings.options.get("most_samples", 0) / settings.alpha_every
        updates = sum(part.steps for part in settings.parts)
        return float(updates * settings.batch / self.workers * one * (learned + scored * FORWARD))

    def text(self, timed: bool) -> str:
        """Write the plan, with its time if `timed`.

        Of the training videos one share is for the weights, the other for the prior.
        """
        settings, space = self.settings, self.space
        lines = [
            self.about,
            f"space    {space.name}: {len(space.decisions)} decisions, {float(space.size):.1e} architectures",
            f"range    {self._ranges()}",
            f"         {convention(space.reference)}",
            f"clips    {settings.frames} frames of {settings.crop}x{settings.crop}, {settings.stride} frames apart; "
            f"short side {settings.jitter[0]} to {settings.jitter[1]} pixels",
            f"data     {self.data}",
            f"batch    {settings.batch} clips = {self.workers} x {settings.batch // self.workers}",
            f"memory   about {gib(self.memory.total)} a worker in fp32: weights, gradients, momentum, "
            f"{self.memory.clips} x {gib(self.memory.per_clip)} that autograd keeps",
            *([f"time     {self._time()}"] if timed else []),
            *self._steps(),
        ]
        if note := settled_note(self.constraints):
            lines.insert(3, f"         {note}")
        return "\n".join(lines)

    def _ranges(self) -> str:
        settings, table = self.settings, Macs().table(self.space)
        values = (
            f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}"
            for key, value in settings.options.items()
        )
        strategy = f"strategy {settings.strategy} ({', '.join(values)})"
        reach = f"{table.smallest()[0] / 1e9:.3g} to {table.largest()[0] / 1e9:.3g} GFLOPs"
        texts = [f"{' '.join(c.texts())} {c.cost.quantity.unit}" for c in self.constraints]
        if not texts:
            return f"none asked for: what is found may cost {reach}; {strategy}"
        return f"{', '.join(texts)} of {reach}; {strategy}"

    def _time(self) -> str:
        if self.budget is not None:
            return f"{long_duration(self.budget)}: updates are measured when the search begins, and planned for it"
        if torch.cuda.is_available():
            return "not estimated on a GPU"
        return (
            f"about {long_duration(self.seconds())} on this CPU, and the reading of videos: a clip's step was measured"
        )

    def _steps(self) -> list[str]:
        if self.budget is not None:
            return []
        return [f"steps    {self.settings.steps:,}"] + [
            f"         {part.name}: {part.steps:,}, of them {part.warmup:,} of warm-up; "
            f"lr {part.lr:g} and {part.arch_lr:g}"
            for part in self.settings.parts
        ]
