"""An experiment for `autovid search`: a space, a range of FLOPs and what differs from the space's own recipe."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from autovid.config import read_layers
from autovid.costs import convention
from autovid.data.index import DataSet
from autovid.search.feasibility import settle
from autovid.search.part_targets import Target
from autovid.search.settings import SearchSettings, settings_for
from autovid.space import SearchSpace, load_space


class SearchValues(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What may differ; None: as the space has it. `epochs`, `steps`, `lr` and `arch_lr` are then every part's."""

    epochs: float | None = None
    steps: int | None = None
    batch: int | None = None
    lr: float | None = None
    arch_lr: float | None = None
    frames: int | None = None
    crop: int | None = None
    stride: int | None = None
    jitter: tuple[int, int] | None = None
    samples: int | Literal["auto"] | None = None
    beta: float | Literal["auto"] | None = None
    likelihood: Literal["mean", "sum"] | None = None
    in_range: bool = False
    seed: int = 0


class SearchExperiment(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the file says. `flops` are as --flops has them: MIN:MAX, and PART=MIN:MAX for a part's own."""

    command: Literal["search"]
    about: str
    space: str
    flops: tuple[str, ...] = ()
    dataset: DataSet
    data: str | None = None
    workers: int = 1
    recipe: SearchValues = SearchValues()


class LoadedSearch(NamedTuple):
    """An experiment ready to run."""

    experiment: SearchExperiment
    space: SearchSpace
    latency: bool = False  # whether the command gives a range of that

    def settings(self, videos: int) -> SearchSettings:
        """Of a search in which the weights learn from `videos` videos. Raises ConfigError."""
        recipe: dict[str, Any] = msgspec.structs.asdict(self.experiment.recipe)
        flops = self.experiment.flops
        return settings_for(self.space, proxy=False, videos=videos, flops=flops, latency=self.latency, **recipe)


def load_search(path: Path, settings: Sequence[str] = (), latency: bool = False) -> LoadedSearch:
    """Reads an experiment, with key=value `settings` on top. Raises ConfigError with file, line and key."""
    layers = read_layers(path, settings, full_key)
    experiment = layers.as_type(SearchExperiment)
    with layers.at("space"):
        space = load_space(experiment.space)
    with layers.at("flops"):
        settle(space, Target.parse(experiment.flops, space))
    loaded = LoadedSearch(experiment, space, latency)
    with layers.at("recipe"):
        batch = loaded.settings(experiment.dataset.train // 2).batch
    if experiment.workers < 1 or batch % experiment.workers:
        raise layers.error(f"a batch of {batch} clips does not divide among {experiment.workers} workers", "workers")
    return loaded


def full_key(key: str) -> str:
    """`recipe.beta` of `beta`, and so on; what is a key of the experiment stays."""
    mine, recipe = ({field.name for field in msgspec.structs.fields(kind)} for kind in (SearchExperiment, SearchValues))
    return f"recipe.{key}" if key.split(".")[0] in recipe - mine else key


def search_plan(loaded: LoadedSearch, data: DataSet, given: bool) -> str:
    """What the search will be; of the training videos one half is for the weights, the other for the prior.

    `given`: whether the data is there, or only known from the paper.
    """
    experiment, space = loaded.experiment, loaded.space
    settings, table = loaded.settings(data.train // 2), space.cost_table()
    each = settings.batch // experiment.workers
    beta = settings.beta if settings.beta == "auto" else f"{settings.beta:g}"
    reach = f"{table.smallest()[0] / 1e9:.3g} to {table.largest()[0] / 1e9:.3g} GFLOPs"
    wanted = f"{' '.join(experiment.flops) or 'none'} of {reach}; beta {beta}"
    if not experiment.flops and not loaded.latency:
        wanted = f"none asked for: what is found may cost {reach}; beta {beta}"
    lines = [
        experiment.about,
        f"space    {space.name}: {len(space.decisions)} decisions, {float(space.size):.1e} architectures",
        f"range    {wanted}",
        f"         {convention(space.reference)}",
        f"clips    {settings.frames} frames of {settings.crop}x{settings.crop}, {settings.stride} frames apart; short "
        f"side {settings.jitter[0]} to {settings.jitter[1]} pixels",
        f"data     {'' if given else 'none given yet; '}{data}",
        f"batch    {settings.batch} clips = {experiment.workers} x {each}, {settings.samples} architectures a step",
        f"steps    {settings.steps:,}",
    ]
    if note := settings.settled_note():
        lines.insert(3, f"         {note}")
    lines += [
        f"         {part.name}: {part.steps:,}, of them {part.warmup:,} of warm-up; lr {part.lr:g} and {part.arch_lr:g}"
        for part in settings.parts
    ]
    return "\n".join(lines)
