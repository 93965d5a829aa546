"""The commands as Python functions: search, derive, train, evaluate, predict. The same code, with the same defaults.

    run = autovid.search(space="tiny", constraints={"flops": "0.0071:0.0079"}, out="runs/tiny")
    arch = run.derive()
    trained = autovid.train(arch, data="my_videos", out="runs/mine")
    autovid.evaluate(trained, views="10-lcr").top1

Each function shows its progress where it runs: a live block on a terminal, lines elsewhere, as in a notebook.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from autovid.errors import ConfigError

if TYPE_CHECKING:
    from autovid.data.frame_cache import CacheSize
    from autovid.export.prediction import Prediction
    from autovid.models import Model
    from autovid.search.derivation import Searched
    from autovid.space import Architecture, SearchSpace
    from autovid.studies.front import Front
    from autovid.train import Evaluation
    from autovid.train.recipe import RecipeName

__all__ = ["SearchRun", "TrainedRun", "evaluate", "predict", "search", "train"]
SYNTHETIC = "synthetic"
Ranges = Mapping[str, str | Sequence[str]]


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
        self, constraints: Ranges | None = None, *, latency_table: str | Path | None = None, no_range: bool = False
    ) -> "Architecture":
        """Return the search's architecture, or with `constraints` another one from the same search.

        Raises CostRangeError where the constraints hold nothing.
        """
        from autovid.search import derive, read_constraints

        searched = self.searched
        if constraints is None:
            return derive(searched, no_range=no_range)
        files = self._cost_files(latency_table)
        return derive(searched, read_constraints(searched.space, constraints, files), no_range=no_range)

    def front(
        self,
        n: int = 8,
        constraints: Ranges | None = None,
        *,
        out: str | Path | None = None,
        data: str | Path | None = None,
        latency_table: str | Path | None = None,
        epochs: float | None = None,
        device: str = "auto",
    ) -> "Front":
        """Derive the best architecture of each of `n` costs, as `autovid derive --front` does.

        They are scored with the supernet's weights where the search's data is there, or `data` is; `epochs`: also
        trained from scratch. Files are written into `out` (default: front, in the run's directory).
        Raises ConfigError, CostRangeError, DataError, RunError.
        """
        from autovid.run import Progress
        from autovid.search import read_constraints
        from autovid.studies.front import TrainingPlan, derive_front

        asked = None
        if constraints is not None:
            asked = read_constraints(self.searched.space, constraints, self._cost_files(latency_table))
        return derive_front(
            self.path, n, Path(out) if out is not None else self.path / "front", constraints=asked, device=device,
            data=None if data is None else str(data), training=TrainingPlan(epochs) if epochs else None,
            progress=Progress(f"front of {self.path}"),
        )  # fmt: skip

    def _cost_files(self, latency_table: str | Path | None) -> dict[str, Path]:
        """Return the file of a cost that needs one: what was given, or what the run has kept."""
        kept = self.path / "latency.json"
        table = Path(latency_table) if latency_table else kept if kept.is_file() else None
        return {"latency": table} if table else {}


@dataclass(frozen=True)
class TrainedRun:
    """A training in its run directory, and its accuracy on val, centre view."""

    path: Path
    evaluation: "Evaluation"


def search(
    space: "SearchSpace | str | Path" = "two_stream",
    constraints: Ranges = MappingProxyType({}),
    *,
    data: str | Path = SYNTHETIC,
    out: str | Path | None = None,
    strategy: str = "parsec",
    options: Mapping[str, Any] = MappingProxyType({}),
    recipe: Literal["proxy", "full"] | None = None,
    latency_table: str | Path | None = None,
    seed: int = 0,
    device: str = "auto",
    precision: str = "auto",
    decoders: int = 0,
    cache: "CacheSize" = "auto",
    budget: float | None = None,
    resume: bool = False,
    **changes: Any,
) -> SearchRun:
    """Search a space, as `autovid search` does, and return the finished run.

    `constraints`: ranges by cost, such as {"flops": "1.37:1.43"}. `data`: a folder, a CSV file, or "synthetic".
    `budget`: seconds; where neither that nor recipe, steps or epochs are given, 600, or 3,600 with `data`. `options`
    are the strategy's. `changes`: epochs, steps, batch, lr, arch_lr, frames, crop, stride, jitter. `cache`: decoded
    frames in memory: "auto" (where they fit), "off" or bytes. `out` is a new directory (default: runs/search-SPACE).
    Raises ConfigError, CostRangeError, DataError, RunError, DivergedError.
    """
    from autovid.data import open_videos
    from autovid.data.frame_cache import choose_cache
    from autovid.data.sources import recorded_source
    from autovid.kernels.allocator import keep_memory
    from autovid.kernels.compute import Compute
    from autovid.search.budget import budget_of, within_budget
    from autovid.search.part_ranges import parse_constraints
    from autovid.search.run import planned
    from autovid.search.run import search as run_search
    from autovid.search.settings import settings_for
    from autovid.space import SearchSpace, load_space

    keep_memory()
    what = space if isinstance(space, SearchSpace) else load_space(space)
    resolved = parse_constraints(what, constraints, {"latency": Path(latency_table)} if latency_table else {})
    videos, embedded = open_videos(str(data), seed=seed), str(data) == SYNTHETIC
    seconds = budget_of(budget, recipe, changes.get("steps"), changes.get("epochs"), embedded)
    settings = settings_for(
        what,
        proxy=seconds is not None or recipe == "proxy" or (recipe is None and embedded),
        videos=len(videos.train), constrained=bool(resolved), strategy=strategy, options=options, seed=seed, **changes,
    )  # fmt: skip
    path = Path(out) if out is not None else _free_directory(f"search-{what.name}")
    with choose_cache(cache, videos.train, videos.root) or nullcontext() as frames:
        if seconds is not None:
            settings = (planned(path) if resume else None) or within_budget(
                what, videos, settings, seconds, Compute(device, precision), resolved, workers=decoders, cache=frames
            )
        result = run_search(
            what, videos, settings, path, constraints=resolved, precision=precision, device=device, workers=decoders,
            cache=frames, resume=resume, source=recorded_source(data),
        )  # fmt: skip
    return SearchRun(result.path)


def train(
    what: "Model | SearchRun | str | Path",
    *,
    data: str | Path = SYNTHETIC,
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
    **changes: Any,
) -> TrainedRun:
    """Train a network from scratch, as `autovid train` does, and evaluate it.

    `what`: an architecture, a search, a network's name or spec, or a file or run that holds one. With `inherit` the
    training starts from the weights of a search's supernet. `teacher`: a training to learn from. `changes` are of the
    recipe: epochs, batch, lr, frames, crop, augment, seed, ... Raises ConfigError, DataError, RunError, DivergedError.
    """
    from autovid.data import open_videos
    from autovid.data.frame_cache import choose_cache
    from autovid.data.sources import recorded_source
    from autovid.kernels.allocator import keep_memory
    from autovid.kernels.compute import Compute
    from autovid.run import Progress
    from autovid.train import find_model, make_recipe, train_model
    from autovid.train.finetune import clip_size, fit
    from autovid.train.inherited import check_inheritable, other_classes
    from autovid.train.trained import find_weights

    keep_memory()
    place = what.path if isinstance(what, SearchRun) else what
    model = find_model(place) if isinstance(place, str | Path) else place
    start = Path(str(place)) if inherit else weights
    if recipe == "finetune":
        if start is None:
            raise ConfigError("the recipe finetune starts from weights: give weights, or inherit with a search")
        changes = {**clip_size(Path(start)), **changes}
    plan = make_recipe(model, name=recipe or ("proxy" if str(data) == SYNTHETIC else "full"), **changes)
    videos = open_videos(str(data), seed=plan.seed)
    path = Path(out) if out is not None else _free_directory("train")
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
    split: Literal["val", "test", "train"] = "val",
    checkpoint: Literal["best", "last"] = "best",
    device: str = "auto",
    decoders: int = 0,
) -> "Evaluation":
    """Evaluate a training, as `autovid evaluate` does: top-1 and top-5 averaged over views.

    A training has several checkpoints: the one that was best on val, and the last. A search has the weights of its
    supernet. `data` is what was learned from unless given.
    Raises ConfigError, DataError, RunError.
    """
    from autovid.data import open_videos
    from autovid.kernels.allocator import keep_memory
    from autovid.run import Progress
    from autovid.train import evaluate as evaluate_training
    from autovid.train import open_trained

    keep_memory()
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
) -> "list[Prediction]":
    """Predict what happens in videos, as `autovid predict` does, with a training, a search or an exported folder.

    One prediction for each video, or for every `window` seconds of it. Raises ConfigError, DataError, RunError.
    """
    from autovid.export import open_classifier
    from autovid.export import predict as predict_video
    from autovid.kernels.allocator import keep_memory

    keep_memory()
    if window is not None and not 0 < window < float("inf"):
        raise ConfigError(f"window {window}: give a number of seconds above 0")
    classifier = open_classifier(model.path if isinstance(model, TrainedRun | SearchRun) else Path(model), device)
    paths = [videos] if isinstance(videos, str | Path) else videos
    return [prediction for video in paths for prediction in predict_video(classifier, Path(video), window)]
