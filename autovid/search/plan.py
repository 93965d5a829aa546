"""The plan of a search, before it begins: its space, ranges, data, steps, memory and time."""

from typing import NamedTuple

import torch

from autovid.clip import Clip
from autovid.costs import Macs, convention
from autovid.costs.step_memory import clip_seconds
from autovid.measure.memory import StepMemory, gib
from autovid.models import build
from autovid.run.progress import long_duration
from autovid.search.constraints import Constraint, settled_note
from autovid.search.memory import step_memory
from autovid.search.settings import SearchSettings
from autovid.space import SearchSpace

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

    def text(self) -> str:
        """Write the plan; of the training videos one share is for the weights, the other for the prior."""
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
            f"time     {self._time()}",
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
