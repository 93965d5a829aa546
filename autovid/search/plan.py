"""An experiment for `autovid search`, and the plan of a search before it begins: ranges, data, steps, memory, time.

The memory of an update is counted from shapes. The graph of one architecture is in memory at a time
(`autovid.search.supernet`): the largest of some that the search may draw stands for all. Ours.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np
import torch

from autovid import distributed
from autovid.clip import Clip
from autovid.config import read_layers
from autovid.costs import Macs, Memory, convention
from autovid.costs.count import clip_seconds
from autovid.data.index import DataSet
from autovid.errors import ConfigError
from autovid.kernels.compute import Compute
from autovid.measure import StepMemory, gib
from autovid.models import build, build_space
from autovid.run.progress import long_duration
from autovid.search.constraints import Constraint, final_constraints, part_ranges_note
from autovid.search.part_ranges import parse_constraints
from autovid.search.problem import whole_problem
from autovid.search.settings import SearchSettings, settings_for
from autovid.search.strategies import STRATEGIES
from autovid.search.strategy import SUPERNET, score_of
from autovid.space import SearchSpace, load_space
from autovid.space.schema import Reference

DRAWS = 64  # architectures drawn, of which the largest says what a step may keep
FORWARD = 1 / 3  # of the time of a forward and a backward pass


class SearchValues(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Values to change; None: as the space has it. `epochs`, `steps`, `lr` and `arch_lr` are then every part's."""

    epochs: float | None = None
    steps: int | dict[str, int] | None = None
    batch: int | None = None
    lr: float | None = None
    arch_lr: float | None = None
    archs_per_update: int | None = None
    split: Literal["architectures", "batch"] | None = None
    sync_norm: bool | None = None
    balance: bool | None = None
    alpha_every: int | None = None
    held_out_fraction: float | None = None
    choice: dict[str, int] = {}  # of autovid.search.settings.ChoiceSettings
    frames: int | None = None
    crop: int | None = None
    stride: int | None = None
    jitter: tuple[int, int] | None = None
    samples: int | Literal["auto"] | None = None
    beta: float | Literal["auto"] | None = None
    likelihood: Literal["mean", "sum"] | None = None
    in_range: bool = False
    cost_gradient: Literal["sampled", "exact", "in-range"] | None = None
    open_prior: Literal["quarter", "evidence"] | None = None
    seed: int = 0


def read_values(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return all values of a recipe, with `changes` for some. Raises ConfigError for a key or value that cannot be."""
    if odd := sorted(changes.keys() - set(SearchValues.__struct_fields__)):
        raise ConfigError(f"the recipe of a search has no {odd[0]}; it has {', '.join(SearchValues.__struct_fields__)}")
    try:
        return msgspec.structs.asdict(msgspec.convert(dict(changes), SearchValues))
    except msgspec.ValidationError as error:
        raise ConfigError(f"the recipe of a search: {error}") from None


def values_for(values: SearchValues, score: str, used: Collection[str]) -> dict[str, Any]:
    """Return the values that a search with another score than the supernet has used for, by key.

    Raises ConfigError for others that somebody has given.
    """
    given = {key: value for key, value in msgspec.structs.asdict(values).items() if value != getattr(UNCHANGED, key)}
    if odd := sorted(given.keys() - set(used)):
        raise ConfigError(f"recipe.{odd[0]} does not go with the score {score}: only supernet has a use for it")
    return {key: getattr(values, key) for key in used}


UNCHANGED = SearchValues()


class SearchExperiment(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The file. `constraints` are as the command line has them: `flops: MIN:MAX`, or a list with PART=...."""

    command: Literal["search"]
    about: str
    space: str
    constraints: dict[str, str | tuple[str, ...]] = {}
    dataset: DataSet
    data: str | None = None
    workers: int = 1
    strategy: dict[str, Any] = {}  # its name, and its settings
    score: str | None = None  # supernet, training or table:NAME; None: the strategy's own
    recipe: SearchValues = SearchValues()


class LoadedSearch(NamedTuple):
    """An experiment ready to run."""

    experiment: SearchExperiment
    space: SearchSpace
    constraints: tuple[Constraint, ...] = ()
    score: str = SUPERNET

    @property
    def strategy(self) -> str:
        """The name of the strategy."""
        return str(self.experiment.strategy.get("name", "parsec"))

    @property
    def options(self) -> dict[str, Any]:
        """The strategy's settings that the file has."""
        return {key: value for key, value in self.experiment.strategy.items() if key != "name"}

    def settings(self, videos: int) -> SearchSettings:
        """Return the settings of a search in which the weights learn from `videos` videos. Raises ConfigError."""
        recipe: dict[str, Any] = msgspec.structs.asdict(self.experiment.recipe)
        return settings_for(
            self.space, proxy=False, videos=videos, constrained=bool(self.constraints), strategy=self.strategy,
            options=self.options, **recipe,
        )  # fmt: skip


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
        learned, scored = self.architectures
        updates = sum(part.steps for part in settings.parts)
        passes = learned + scored / settings.alpha_every * FORWARD
        return float(updates * settings.batch / self.workers * one * passes)

    @property
    def architectures(self) -> tuple[int, int]:
        """The number of architectures that an update learns from, and that are scored at most when asked for."""
        options = self.settings.options
        learned = self.settings.archs_per_update or options.get("samples", 1)
        return (learned if isinstance(learned, int) else 1), int(options.get("most_samples", 0))

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
        if note := part_ranges_note(self.constraints):
            lines.insert(3, f"         {note}")
        return "\n".join(lines)

    def _ranges(self) -> str:
        settings, table = self.settings, Macs().table(self.space)
        values = (
            f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}"
            for key, value in settings.options.items()
        )
        strategy = f"strategy {settings.strategy} ({', '.join(values)})"
        span = f"{table.smallest()[0] / 1e9:.3g} to {table.largest()[0] / 1e9:.3g} GFLOPs"
        texts = [f"{' '.join(c.texts())} {c.cost.quantity.unit}" for c in self.constraints]
        if not texts:
            return f"none asked for: what is found may cost {span}; {strategy}"
        return f"{', '.join(texts)} of {span}; {strategy}"

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


def load_search(path: Path, settings: Sequence[str] = (), files: Mapping[str, Path] | None = None) -> LoadedSearch:
    """Read an experiment, with key=value `settings` on top; `files` are of costs that need one.

    Raises ConfigError with file, line and key.
    """
    layers = read_layers(path, settings, full_key)
    experiment = layers.as_type(SearchExperiment)
    with layers.at("space"):
        space = load_space(experiment.space)
    with layers.at("constraints"):
        constraints = parse_constraints(space, experiment.constraints, files)
    loaded = LoadedSearch(experiment, space, constraints)
    with layers.at("strategy", "name"):
        STRATEGIES.load(loaded.strategy)
    with layers.at("score"):
        loaded = loaded._replace(score=score_of(loaded.strategy, experiment.score))
    if loaded.score != SUPERNET:  # whoever trains or looks up checks the recipe
        return loaded
    with layers.at("recipe"):
        batch = loaded.settings(experiment.dataset.train).batch
    if experiment.workers < 1 or batch % experiment.workers:
        raise layers.error(f"a batch of {batch} clips does not divide among {experiment.workers} workers", "workers")
    return loaded


def full_key(key: str) -> str:
    """Return `recipe.beta` for `beta`, and so on; what is a key of the experiment stays."""
    mine, recipe = ({field.name for field in msgspec.structs.fields(kind)} for kind in (SearchExperiment, SearchValues))
    return f"recipe.{key}" if key.split(".")[0] in recipe - mine else key


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
    copies = 3 + (settings.optimizer == "adamw")
    return StepMemory(copies * weights, kept // (2 if half else 1), clips, settings.batch)


def check_memory(
    space: SearchSpace, settings: SearchSettings, classes: int, compute: Compute, constraints: Sequence[Constraint] = ()
) -> StepMemory:
    """Return the memory of an update. Raises ConfigError where it does not fit into a CPU's."""
    half = compute.precision.train == "bf16"
    memory = step_memory(space, settings, classes, distributed.size(), half, constraints)
    memory.check(compute.device)
    return memory
