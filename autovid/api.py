"""The commands as Python functions: search, derive, train, evaluate, predict. The same code, with the same defaults.

    run = autovid.search(space="tiny", constraints={"flops": "0.0071:0.0079"}, out="runs/tiny")
    arch = run.derive()
    trained = autovid.train(arch, data="my_videos", out="runs/mine")
    autovid.evaluate(trained, views="10-lcr").top1

Each function shows its progress where it runs: a live block on a terminal, lines elsewhere, as in a notebook.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from autovid.errors import ConfigError
from autovid.plugins import load_plugins

if TYPE_CHECKING:
    from autovid.data.frame_cache import CacheSize
    from autovid.export.prediction import Prediction
    from autovid.models import Model
    from autovid.search import Constraint
    from autovid.search.derivation import Searched
    from autovid.space import Architecture, SearchSpace
    from autovid.studies.front_candidates import Front
    from autovid.train import Evaluation
    from autovid.train.recipe import RecipeName

__all__ = ["SearchRun", "TrainedRun", "evaluate", "predict", "search", "train"]
SYNTHETIC = "synthetic"
Ranges = Mapping[str, str | Sequence[str]]
Files = Mapping[str, str | Path]
Plugins = str | Path | Sequence[str | Path]


@dataclass(frozen=True)
class SearchRun:
    """A search in its run directory."""

    path: Path

    @property
    def searched(self) -> "Searched":
        """The state of the search as its directory has it. Raises RunError."""
        from autovid.search import read_search

        return read_search(self.path)

    def derive(
        self,
        constraints: Ranges | None = None,
        *,
        files: Files = MappingProxyType({}),
        no_range: bool = False,
        data: str | Path | None = None,
        budget: float = 120.0,
        finalists: int | None = None,
        epochs: float | None = None,
        scale: Mapping[str, float] = MappingProxyType({}),
        device: str = "auto",
    ) -> "Architecture":
        """Return the search's architecture, or with `constraints` another one, as `autovid derive` does.

        Inside `constraints` it is chosen anew in about `budget` seconds, with the search's videos or with `data`.
        `files`: of costs that need one, such as {"latency": "table.json"}; the run keeps those that it was given.
        `finalists`: so many are trained by successive halving, the last one for `epochs`, and the winner is taken.
        `scale`: the same at another crop, frames or depth. `no_range`: the prior's most probable one.
        Raises ConfigError, CostRangeError where the constraints hold nothing, DataError.
        """
        from autovid.run import Progress
        from autovid.search import read_constraints
        from autovid.search.derivation import described_scale
        from autovid.studies.finalists import derive_finalist
        from autovid.studies.front import TrainingPlan
        from autovid.studies.supernet import derive_again

        if no_range and (constraints or finalists):
            raise ConfigError("no_range asks for no range at all; leave out constraints and finalists")
        if (data is not None and not (constraints or finalists)) or (epochs is not None and not finalists):
            raise ConfigError("data is for choosing anew, and epochs for finalists: give constraints or finalists, too")
        if odd := sorted(scale.keys() - {"crop", "frames", "depth"}):
            raise ConfigError(f"scale has no {odd[0]}; it has crop, frames and depth")
        searched, videos = self.searched, None if data is None else str(data)
        asked = read_constraints(searched.space, constraints or {}, self._cost_files(files)) or None
        if finalists:
            plan = TrainingPlan(epochs)
            arch, *_ = derive_finalist(self.path, searched, finalists, plan, asked, data=videos, device=device)
        else:
            with Progress(f"choice of {self.path}").of_phases() as show:
                arch = derive_again(
                    self.path, searched, asked, no_range=no_range, data=videos, seconds=budget, device=device, show=show
                )
        return described_scale(arch, **scale) if scale else arch  # type: ignore[arg-type]

    def front(
        self,
        n: int = 8,
        constraints: Ranges | None = None,
        *,
        out: str | Path | None = None,
        data: str | Path | None = None,
        files: Files = MappingProxyType({}),
        epochs: float | None = None,
        device: str = "auto",
    ) -> "Front":
        """Derive the best architecture of each of `n` costs, as `autovid derive --front` does.

        They are chosen by the supernet on held-out clips where the search's data is there, or `data` is, else by the
        search's own scores; `epochs`: also trained from scratch. Files are written into `out` (default: front, in the
        run's directory).
        Raises ConfigError, CostRangeError, DataError, RunError.
        """
        from autovid.run import Progress
        from autovid.search import read_constraints
        from autovid.studies.front import TrainingPlan, derive_front

        asked = None
        if constraints is not None:
            asked = read_constraints(self.searched.space, constraints, self._cost_files(files))
        return derive_front(
            self.path, n, Path(out) if out is not None else self.path / "front", constraints=asked, device=device,
            data=None if data is None else str(data), training=TrainingPlan(epochs) if epochs else None,
            progress=Progress(f"front of {self.path}"),
        )  # fmt: skip

    def _cost_files(self, files: "Files") -> dict[str, Path]:
        """Return the files of costs that need one: those given, else what the run has kept."""
        from autovid.costs import kept_files

        return {**kept_files(self.path), **_paths(files)}


@dataclass(frozen=True)
class TrainedRun:
    """A training in its run directory, and its accuracy on val, centre view."""

    path: Path
    evaluation: "Evaluation"


def search(
    space: "SearchSpace | str | Path | None" = None,
    constraints: Ranges = MappingProxyType({}),
    *,
    data: str | Path | None = None,
    out: str | Path | None = None,
    strategy: str = "parsec",
    score: str | None = None,
    searched: SearchRun | TrainedRun | str | Path | None = None,
    options: Mapping[str, Any] = MappingProxyType({}),
    recipe: Literal["proxy", "full"] | None = None,
    files: Files = MappingProxyType({}),
    seed: int = 0,
    device: str = "auto",
    precision: str = "auto",
    decoders: int = 0,
    cache: "CacheSize" = "auto",
    budget: float | None = None,
    resume: bool = False,
    plugins: Plugins = (),
    **changes: Any,
) -> SearchRun:
    """Search a space, as `autovid search` does, and return the finished run.

    `space`: two_stream unless given. `constraints`: ranges by cost, such as {"flops": "1.37:1.43"}; `files`: of costs
    that need one. `data`: a folder, a CSV file, or "synthetic"; by default what `searched` has learned from, else that.
    `score`: "supernet", "training" (each architecture alone, and `searched` beside them) or "table:NAME"; by default
    the strategy's own. `budget`: seconds; by default 600, or 3,600 with `data`, if no length is given. `options`: the
    strategy's. `changes`: of the recipe (epochs, steps, batch, lr, arch_lr, frames, crop, ...); for a table steps.
    `cache`: decoded frames in memory: "auto" (where they fit), "off" or bytes. `out`: a new directory, by default
    runs/search-SPACE, or for trainings runs/STRATEGY-SPACE. `plugins`: files of code to run, or one.
    Raises ConfigError, CostRangeError, DataError, RunError, DivergedError.
    """
    from autovid.search.strategy import SUPERNET, TRAINING, score_of
    from autovid.space import SearchSpace, load_space

    _begin(plugins)
    way = score_of(strategy, score)
    if way != TRAINING and searched is not None:
        raise ConfigError('searched is compared with trained architectures: give strategy="random", and no score')
    if recipe not in (None, "proxy", "full"):
        raise ConfigError(f"recipe {recipe!r}: a search has proxy and full")
    if way != SUPERNET and budget is not None:
        raise ConfigError(f"budget is for a supernet, not for score={way!r}")
    if way == TRAINING:
        data, recipe = _data_and_recipe(data, recipe, getattr(searched, "path", searched))
        return _search_by_training(
            space, constraints, searched, changes,
            data=data, out=out, strategy=strategy, options=options, recipe=recipe, files=files, seed=seed,
            device=device, precision=precision, decoders=decoders, cache=cache, resume=resume,
        )  # fmt: skip
    what, data = space if isinstance(space, SearchSpace) else load_space(space or "two_stream"), data or SYNTHETIC
    if way != SUPERNET:
        if str(data) != SYNTHETIC or recipe is not None:
            raise ConfigError(f"data and recipe are for networks that learn, not for score={way!r}")
        return _search_by_table(what, constraints, files, way, changes, out, strategy, options, seed, resume)
    return _search_by_supernet(
        what, constraints, files, changes, data=data, out=out, strategy=strategy, options=options, recipe=recipe,
        seed=seed, device=device, precision=precision, decoders=decoders, cache=cache, budget=budget, resume=resume,
    )  # fmt: skip


def _search_by_supernet(
    what: "SearchSpace",
    constraints: Ranges,
    files: Files,
    changes: Mapping[str, Any],
    *,
    data: str | Path,
    out: str | Path | None,
    strategy: str,
    options: Mapping[str, Any],
    recipe: Literal["proxy", "full"] | None,
    seed: int,
    device: str,
    precision: str,
    decoders: int,
    cache: "CacheSize",
    budget: float | None,
    resume: bool,
) -> SearchRun:
    """Search with scores by the supernet."""
    from autovid.data import open_videos
    from autovid.data.frame_cache import choose_cache
    from autovid.data.sources import recorded_source
    from autovid.kernels.compute import Compute
    from autovid.search.budget import budget_of, within_budget
    from autovid.search.part_ranges import parse_constraints
    from autovid.search.plan import read_values
    from autovid.search.run import planned
    from autovid.search.run import search as run_search
    from autovid.search.settings import settings_for

    began = time.monotonic()
    values = read_values({**changes, "seed": seed})
    resolved = parse_constraints(what, constraints, _paths(files))
    videos, embedded = open_videos(str(data), seed=seed), str(data) == SYNTHETIC
    seconds = budget_of(budget, recipe, values["steps"], values["epochs"], embedded, values["alpha_every"])
    settings = settings_for(
        what,
        proxy=seconds is not None or recipe == "proxy" or (recipe is None and embedded),
        videos=len(videos.train), constrained=bool(resolved), strategy=strategy, options=options, **values,
    )  # fmt: skip
    path = Path(out) if out is not None else _free_directory(f"search-{what.name}")
    with choose_cache(cache, videos.train, videos.root) or nullcontext() as frames:
        if seconds is not None:
            settings = planned(path, resume) or within_budget(
                what, videos, settings, seconds, Compute(device, precision), resolved, workers=decoders, cache=frames,
                began=began,
            )  # fmt: skip
        result = run_search(
            what, videos, settings, path, constraints=resolved, precision=precision, device=device, workers=decoders,
            cache=frames, resume=resume, source=recorded_source(data),
        )  # fmt: skip
    return SearchRun(result.path)


def _search_by_table(
    what: "SearchSpace",
    constraints: Ranges,
    files: Files,
    score: str,
    changes: Mapping[str, Any],
    out: str | Path | None,
    strategy: str,
    options: Mapping[str, Any],
    seed: int,
    resume: bool,
) -> SearchRun:
    """Search with scores from a table."""
    from autovid.search.part_ranges import parse_constraints
    from autovid.search.strategy import TABLE
    from autovid.studies import load_benchmark, search_by_table

    if odd := sorted(changes.keys() - {"steps"}):
        raise ConfigError(f"a search by a table has no {odd[0]}; it has steps, the number of rounds of asking")
    path = Path(out) if out is not None else _free_directory(f"search-{what.name}")
    search_by_table(
        what, parse_constraints(what, constraints, _paths(files)), load_benchmark(score.removeprefix(TABLE)), path,
        strategy=strategy, options=options, seed=seed, rounds=changes.get("steps"), resume=resume,
    )  # fmt: skip
    return SearchRun(path)


def _search_by_training(
    space: "SearchSpace | str | Path | None",
    constraints: Ranges,
    beside: SearchRun | TrainedRun | str | Path | None,
    changes: Mapping[str, Any],
    *,
    data: str | Path,
    out: str | Path | None,
    strategy: str,
    options: Mapping[str, Any],
    recipe: Literal["proxy", "full"] | None,
    files: Files,
    seed: int,
    device: str,
    precision: str,
    decoders: int,
    cache: "CacheSize",
    resume: bool,
) -> SearchRun:
    """Search by training every architecture alone, beside the one that was searched."""
    from autovid.costs.cost import kept_files
    from autovid.data import open_videos
    from autovid.data.sources import recorded_source
    from autovid.search import read_constraints
    from autovid.space import SearchSpace, load_space
    from autovid.studies import Trainer, find_rival, search_by_training
    from autovid.studies.by_training import like, searched_at, space_of
    from autovid.train import find_architecture, make_recipe

    place = beside.path if isinstance(beside, SearchRun | TrainedRun) else beside
    searched = searched_at(place) if place is not None else None
    rival = find_architecture(searched) if searched is not None else None
    what = space if isinstance(space, SearchSpace) else load_space(space or space_of(searched, rival))
    kept = kept_files(searched) if searched is not None else {}
    resolved: Sequence[Constraint] = read_constraints(what, constraints, {**kept, **_paths(files)})
    if not resolved:
        if searched is None or rival is None:
            raise ConfigError("a range is needed, such as constraints={'flops': 'MIN:MAX'}, or `searched`")
        resolved = like(what, searched, rival)
    plan = make_recipe(
        what, name=recipe or ("proxy" if str(data) == SYNTHETIC else "full"),
        **{**changes, "seed": seed, "precision": precision},
    )  # fmt: skip
    videos = open_videos(str(data), seed=seed)
    path = Path(out) if out is not None else _free_directory(f"{strategy}-{what.name}")
    search_by_training(
        what, resolved, Trainer(videos, recorded_source(data), plan, device, decoders, cache), path, strategy=strategy,
        options=options, seed=seed, rival=find_rival(searched, videos, plan) if searched is not None else None,
        resume=resume,
    )  # fmt: skip
    return SearchRun(path)


def train(
    what: "Model | SearchRun | str | Path",
    *,
    data: str | Path | None = None,
    out: str | Path | None = None,
    recipe: "RecipeName | None" = None,
    weights: str | Path | None = None,
    new_head: bool = False,
    inherit: bool = False,
    teacher: str | Path | None = None,
    views: Sequence[str] = ("center",),
    device: str = "auto",
    decoders: int = 0,
    cache: "CacheSize" = "auto",
    resume: bool = False,
    plugins: Plugins = (),
    **changes: Any,
) -> TrainedRun:
    """Train a network from scratch, as `autovid train` does, and evaluate it.

    `what`: an architecture, a search, a network's name or spec, or a file or run that holds one. With `inherit` the
    training starts from the weights of a search's supernet. `teacher`: a training to learn from. `data`: by default
    what a run has learned from, else "synthetic". `changes`: of the recipe (epochs, batch, lr, warmup, frames, ...).
    `plugins`: files of code to run. Raises ConfigError, DataError, RunError, DivergedError.
    """
    from autovid.data import open_videos
    from autovid.data.frame_cache import choose_cache
    from autovid.data.sources import recorded_source
    from autovid.kernels.compute import Compute
    from autovid.run import Progress
    from autovid.train import find_model, make_recipe, train_model
    from autovid.train.finetune import clip_size, fit
    from autovid.train.inherited import check_inheritable, other_classes
    from autovid.train.trained import find_weights

    _begin(plugins)
    place = what.path if isinstance(what, SearchRun) else what
    model = find_model(place) if isinstance(place, str | Path) else place
    data, recipe = _data_and_recipe(data, recipe, place)
    start = Path(str(place)) if inherit else weights
    if recipe == "finetune" and start is None:
        raise ConfigError("the recipe finetune starts from weights: give weights, or inherit with a search")
    changes = {**(clip_size(Path(start)) if recipe == "finetune" and start else {}), **changes}
    plan = make_recipe(model, name=recipe or ("proxy" if str(data) == SYNTHETIC else "full"), **changes)
    videos, path = open_videos(str(data), seed=plan.seed), Path(out) if out is not None else _free_directory("train")
    if inherit:
        if weights is not None:
            raise ConfigError("inherit and weights are two places to start from; leave one of them out")
        check_inheritable(place if isinstance(place, str | Path) else place.hash, model)
        new_head = new_head or bool(other_classes(Path(str(place)), videos))
    elif recipe == "finetune" and start is not None:
        new_head, inherit, _ = fit(model, plan, Path(start), videos, new_head)
    with choose_cache(cache, videos.videos, videos.root) or nullcontext() as frames:
        evaluation = train_model(
            model, videos, plan, path, source=recorded_source(data), compute=Compute(device, plan.precision),
            workers=decoders, cache=frames, weights=find_weights(Path(start)) if start else None, new_head=new_head,
            inherit=inherit, teacher=Path(teacher) if teacher else None, views=views, resume=resume,
            progress=Progress(f"train on {videos.name} · {path}"),
        )  # fmt: skip
    return TrainedRun(path, evaluation)


def _data_and_recipe(data: str | Path | None, recipe: Any, place: object) -> tuple[str | Path, Any]:
    """Return what is given, or the data and the scale of the run at `place`. Raises DataError where they are gone."""
    from autovid.train.learned_from import data_of_runs

    if data is not None:
        return data, recipe
    known = data_of_runs([place]) if isinstance(place, str | Path) else None
    if known is None:
        return SYNTHETIC, recipe
    return known.source, recipe or ("proxy" if known.proxy else None)


def _begin(plugins: Plugins) -> None:
    from autovid.kernels.allocator import keep_memory

    keep_memory()
    load_plugins(plugins)


def _paths(files: Files) -> dict[str, Path]:
    return {option: Path(file) for option, file in files.items()}


def _free_directory(name: str) -> Path:
    """Return runs/NAME, or with a number where that is taken."""
    taken = Path("runs") / name
    others = (Path("runs") / f"{name}-{number}" for number in count(2))
    return next(path for path in chain([taken], others) if not path.exists())


def evaluate(
    run: TrainedRun | SearchRun | str | Path,
    *,
    views: str = "center",
    data: str | Path | None = None,
    split: Literal["val", "test", "train", "all"] = "val",
    checkpoint: Literal["best", "last"] = "best",
    device: str = "auto",
    decoders: int = 0,
    plugins: Plugins = (),
) -> "Evaluation":
    """Evaluate a training, as `autovid evaluate` does: top-1 and top-5 averaged over views.

    A training has several checkpoints: the one that was best on val, and the last. A search has the weights of its
    supernet. `data` is what was learned from unless given. `split`: all is for `data` that was not learned from.
    `plugins`: files of code to run. Raises ConfigError, DataError, RunError.
    """
    from autovid.data import open_videos
    from autovid.run import Progress
    from autovid.train import evaluate as evaluate_training
    from autovid.train import open_trained

    _begin(plugins)
    path = run.path if isinstance(run, TrainedRun | SearchRun) else Path(run)
    trained = open_trained(path, device, None if data is None else str(data), checkpoint)
    videos = open_videos(str(data) if data is not None else trained.source, seed=trained.recipe.seed)
    return evaluate_training(trained, videos, views, split, workers=decoders, progress=Progress(f"evaluate {path}"))


def predict(
    model: TrainedRun | SearchRun | str | Path,
    videos: str | Path | Sequence[str | Path],
    *,
    window: float | None = None,
    device: str = "auto",
    plugins: Plugins = (),
) -> "list[Prediction]":
    """Predict what happens in videos, as `autovid predict` does, with a training, a search or an exported folder.

    One prediction for each video, or for every `window` seconds of it. `plugins`: files of code to run.
    Raises ConfigError, DataError, RunError.
    """
    from autovid.export import open_classifier
    from autovid.export import predict as predict_video

    _begin(plugins)
    if window is not None and not 0 < window < float("inf"):
        raise ConfigError(f"window {window}: give a number of seconds above 0")
    classifier = open_classifier(model.path if isinstance(model, TrainedRun | SearchRun) else Path(model), device)
    paths = [videos] if isinstance(videos, str | Path) else videos
    return [prediction for video in paths for prediction in predict_video(classifier, Path(video), window)]
