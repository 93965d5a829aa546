"""An experiment for `autovid search`: a space, a range of FLOPs and what differs from the space's own recipe."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from autovid.config import read_layers
from autovid.data.index import DataSet
from autovid.search.constraints import Constraint
from autovid.search.part_ranges import parse_constraints
from autovid.search.settings import SearchSettings, settings_for
from autovid.space import SearchSpace, load_space


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
    score: str = "supernet"
    recipe: SearchValues = SearchValues()


class LoadedSearch(NamedTuple):
    """An experiment ready to run."""

    experiment: SearchExperiment
    space: SearchSpace
    constraints: tuple[Constraint, ...] = ()

    def settings(self, videos: int) -> SearchSettings:
        """Return the settings of a search in which the weights learn from `videos` videos. Raises ConfigError."""
        recipe: dict[str, Any] = msgspec.structs.asdict(self.experiment.recipe)
        options = dict(self.experiment.strategy)
        name, score = options.pop("name", "parsec"), self.experiment.score
        return settings_for(
            self.space, proxy=False, videos=videos, constrained=bool(self.constraints), strategy=name, score=score,
            options=options, **recipe,
        )  # fmt: skip


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
    with layers.at("recipe"):
        batch = loaded.settings(experiment.dataset.train).batch
    if experiment.workers < 1 or batch % experiment.workers:
        raise layers.error(f"a batch of {batch} clips does not divide among {experiment.workers} workers", "workers")
    return loaded


def full_key(key: str) -> str:
    """Return `recipe.beta` for `beta`, and so on; what is a key of the experiment stays."""
    mine, recipe = ({field.name for field in msgspec.structs.fields(kind)} for kind in (SearchExperiment, SearchValues))
    return f"recipe.{key}" if key.split(".")[0] in recipe - mine else key
