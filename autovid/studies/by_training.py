"""Search by training: every architecture that a strategy asks for is trained from scratch by one recipe.

With the random strategy this is the baseline of Auto-TSNet's paper, section 5: 16 architectures of 2.4 to 2.5 GFLOPs a
view, beside the searched one. They are trained one after the other; who has a cluster gives another `Runner`.

    DIR/
      config.yaml  log.txt  table.csv  table.md  plot.png
      arch-HASH/   a training's run directory for each architecture; searched-HASH/ for the searched one
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from autovid.costs import Cost, Macs, gflops
from autovid.data import FrameCache, VideoSet
from autovid.data.frame_cache import CacheSize, choose_cache
from autovid.errors import ConfigError, DivergedError, RunError
from autovid.kernels.compute import Compute
from autovid.run import Progress, RunDirectory, run_task, write_atomic
from autovid.run.directory import differences, full_config
from autovid.search import Constraint, derive, read_search
from autovid.search.chance import Chance
from autovid.search.constraints import or_full_range, uniform, whole_constraints
from autovid.search.derivation import read_recorded
from autovid.search.problem import Choices, check_enough, whole_problem
from autovid.search.run import check_space, keep_inputs, search_config
from autovid.search.settings import PartSettings, SearchSettings
from autovid.search.strategy import Scores, strategy_settings, takes
from autovid.search.task import SearchTask
from autovid.solver import UNLIMITED, CostRange, TableConstraint, sample_within
from autovid.space import Architecture, SearchSpace
from autovid.space.schema import JOINT
from autovid.studies.comparison import Comparison, Entry, write_comparison
from autovid.train.evaluate import Evaluation
from autovid.train.recipe import Recipe
from autovid.train.train import read_finished, train_config, train_model
from autovid.train.trained import KIND, find_architecture, recorded_recipe


@dataclass(frozen=True)
class Trainer:
    """The recipe, the videos and the machine by which every architecture of a comparison is trained.

    What is found when it is first needed is found anew in another process, which may be on another machine.
    """

    videos: VideoSet
    source: str
    recipe: Recipe
    device: str = "auto"
    workers: int = 0
    cache: CacheSize = "off"
    resume_command: str = ""
    progress: Callable[[str], Progress] = Progress  # makes the display of one training from its title

    @cached_property
    def compute(self) -> Compute:
        """The device and precision of the training."""
        return Compute(self.device, self.recipe.precision)

    @cached_property
    def frames(self) -> FrameCache | None:
        """The decoded frames of all videos, for one training after the other."""
        return choose_cache(self.cache, (*self.videos.train, *self.videos.val), self.videos.root)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("compute", "frames")}

    def train(self, arch: Architecture, out: Path, title: str) -> Evaluation:
        """Begin the training in `out`, go on with it, or take what it came to."""
        return train_model(
            arch,
            self.videos,
            self.recipe,
            out,
            source=self.source,
            compute=self.compute,
            workers=self.workers,
            cache=self.frames,
            resume=out.is_dir(),
            progress=self.progress(title),
            resume_command=self.resume_command,
        )


@dataclass(frozen=True)
class Rival:
    """The architecture that random ones are compared with, and the result of its training, if it is done."""

    arch: Architecture
    evaluation: Evaluation | None = None


class Job(NamedTuple):
    """One architecture to be trained: its part in the comparison, its run directory's name, what the display says."""

    kind: str  # the strategy, or "searched"
    arch: Architecture
    macs: int
    name: str
    title: str

    def run(self, trainer: Trainer, folder: Path) -> Evaluation | str:
        """Train it in `folder`; return its evaluation, or what was said where it diverged."""
        try:
            return trainer.train(self.arch, folder / self.name, self.title)
        except DivergedError as error:
            return str(error)


def chance_top1(videos: VideoSet) -> float:
    """Return the top-1 on val, in percent, of the best constant answer."""
    return 100 * Chance.of((video.label for video in videos.val), len(videos.classes)).accuracy


Runner = Callable[[Sequence[Job], Trainer, Path], Iterator[tuple[int, Evaluation | str]]]
MOST = 10_000  # architectures: each of them is trained
NEVER = timedelta(days=10**5)  # between two checkpoints: trainings keep their own, and are read again in no time


def one_after_the_other(jobs: Sequence[Job], trainer: Trainer, folder: Path) -> Iterator[tuple[int, Evaluation | str]]:
    """Yield the number of every job and its evaluation, or why there is none."""
    for number, job in enumerate(jobs):
        yield number, job.run(trainer, folder)


class TrainingEvaluator:
    """Scores architectures by training each from scratch; keeps the table and the plot of them up to date."""

    def __init__(
        self,
        space: SearchSpace,
        comparison: Comparison,
        trainer: Trainer,
        run: RunDirectory,
        *,
        rival: Rival | None = None,
        report: Callable[[Comparison], None] = lambda comparison: None,
        runner: Runner = one_after_the_other,
    ) -> None:
        self.space, self.comparison, self.trainer, self.run = space, comparison, trainer, run
        self.rival, self.report, self.runner = rival, report, runner
        self._results: dict[str, Entry] = {}
        self._costs = [constraint.cost for constraint in comparison.constraints if constraint.cost != Macs()]
        self._open_range = comparison.macs.high == UNLIMITED or not comparison.macs.low
        if rival is not None and rival.evaluation is not None:
            self._keep("searched", rival.arch, rival.evaluation)

    def score(self, space: SearchSpace, choices: Choices, split: str = "val", clips: int | None = None) -> Scores:
        """Train architectures of `space`, choices (K, D), and judge them on val, centre view.

        One whose training diverges has a log-likelihood of -inf.
        """
        archs = [space.architecture(row) for row in choices]
        jobs, evaluations = self._jobs(archs), {}
        for number, result in self.runner(jobs, self.trainer, self.run.path):
            job, evaluation = jobs[number], None if isinstance(result, str) else result
            self.run.log(f"{job.name}: {result if isinstance(result, str) else f'top-1 {result.top1:.2f} %'}")
            evaluations[job.arch.hash] = evaluation
            self._keep(job.kind, job.arch, evaluation)
            write_comparison(self.run.path, self.comparison)
            self.report(self.comparison)
        return _scores([evaluations[arch.hash] for arch in archs], self.trainer.videos)

    def _jobs(self, archs: Sequence[Architecture]) -> list[Job]:
        """Return the searched architecture first, unless it is trained, and the others."""
        jobs = []
        if self.rival is not None and self.rival.arch.hash not in self._results:
            arch = self.rival.arch
            macs = macs_at(self.space, arch)
            title = f"searched architecture · {arch.hash} · {gflops(macs, digits=4)} GFLOPs"
            jobs.append(Job("searched", arch, macs, f"searched-{arch.hash}", title))
        for number, arch in enumerate(archs, 1 + sum(e.kind != "searched" for e in self._results.values())):
            macs = macs_at(self.space, arch)
            title = f"architecture {number} of {self.comparison.n} · {arch.hash} · {gflops(macs, digits=4)} GFLOPs"
            jobs.append(Job(self.comparison.strategy, arch, macs, f"arch-{arch.hash}", title))
        return jobs

    def _keep(self, kind: str, arch: Architecture, evaluation: Evaluation | None) -> None:
        macs = macs_at(self.space, arch)
        self._results[arch.hash] = _entry(kind, arch, macs, evaluation, self._costs)
        self.comparison.entries = list(self._results.values())
        if self._open_range:
            costs = [entry.macs for entry in self.comparison.entries]
            self.comparison.macs = CostRange(min(costs), max(costs))


def _scores(evaluations: Sequence[Evaluation | None], videos: VideoSet) -> Scores:
    """Return the scores of trained architectures: by accuracy, as a log-likelihood of guessing right."""
    clips = max((e.decoded for e in evaluations if e is not None), default=1)
    correct = np.array([0 if e is None else round(e.top1 * e.decoded / 100) for e in evaluations], np.int64)
    rate = (correct + 0.5) / (clips + 1)
    likelihood = np.where([e is None for e in evaluations], -np.inf, np.log(rate))
    return Scores(likelihood, np.sqrt((1 - rate) / (rate * clips)), correct, clips, math.log(len(videos.classes)))


def search_by_training(
    space: SearchSpace,
    constraints: Sequence[Constraint],
    trainer: Trainer,
    out: Path,
    *,
    strategy: str = "random",
    options: Mapping[str, Any] = MappingProxyType({}),
    seed: int = 0,
    rival: Rival | None = None,
    resume: bool = False,
    report: Callable[[Comparison], None] = lambda comparison: None,
    runner: Runner = one_after_the_other,
) -> Comparison:
    """Search a space by training every architecture that the strategy asks for, and `rival` before them.

    After each one the table and the plot in `out` are brought up to date and `report` is called. One that diverges is
    an entry without accuracy and stops nothing. Raises CostRangeError where the constraints hold no or too few
    architectures, RunError where `out` was made with another configuration, and what `train_model` raises.
    """
    recipe, videos = trainer.recipe, trainer.videos
    values = strategy_settings(strategy, options)
    n, rounds = planned(strategy, values), values.rounds
    if not 1 <= n <= MOST:
        raise ConfigError(f"{n} architectures: give 1 to {MOST:,}")
    recorded = (
        {**options, "architectures": n} if takes(strategy, "architectures") else dict(options)
    )  # the default, too
    settings = SearchSettings(
        parts=(PartSettings(JOINT, 0, 0, 0.0, 0.0, rounds),), frames=recipe.frames, crop=recipe.crop,
        stride=recipe.stride, jitter=recipe.jitter, batch=recipe.batch, strategy=strategy, score="training",
        options=recorded, seed=seed,
    )  # fmt: skip
    config = {
        **search_config(space, videos, settings, constraints),
        "searched": rival.arch.hash if rival else "none",
        "recipe": recipe.recorded(),
    }
    asked = next((c.whole for c in constraints if c.cost == Macs() and c.whole), CostRange(0, UNLIMITED))
    comparison = Comparison(
        space.name, tuple(constraints), asked, space.reference, videos.name, len(videos.classes), recipe, n, strategy
    )
    check_enough(whole_problem(space, whole_constraints(constraints, space), seed=seed), values)
    check_space(out, space)
    with RunDirectory.create_or_resume(out, config, kind="search", resume=resume) as run:
        keep_inputs(run, space, constraints)
        evaluator = TrainingEvaluator(space, comparison, trainer, run, rival=rival, report=report, runner=runner)
        task = SearchTask(space, settings, constraints, evaluator=evaluator)
        run_task(
            task, run, seed=seed, checkpoint_every=NEVER, progress=_Silent(), resume_command=trainer.resume_command
        )
        write_atomic(run.path / "architecture.yaml", derive(read_search(run.path)).to_yaml())
    return comparison


class _Silent(Progress):
    """Shows nothing: each training has a display of its own."""

    def start(self, total: int, done: int, status: str = "") -> None: ...
    def update(self, done: int, status: str, metrics: dict[str, float]) -> None: ...
    def note(self, line: str) -> None: ...
    def close(self) -> None: ...


def planned(strategy: str, settings: Any) -> int:
    """Return how many architectures a strategy scores in all, as far as its settings tell.

    Raises ConfigError for one that needs a supernet.
    """
    if not hasattr(settings, "rounds"):
        raise ConfigError(f"--score training: the strategy {strategy} is asked between updates of a supernet's weights")
    if hasattr(settings, "architectures"):
        return int(settings.architectures)
    return int(settings.rounds * getattr(settings, "batch", 1))


def draw(space: SearchSpace, n: int, seed: int, inside: Sequence[TableConstraint] = ()) -> list[Architecture]:
    """`n` distinct architectures drawn uniformly from those inside all ranges.

    Raises CostRangeError where the ranges hold no or too few architectures.
    """
    limits = or_full_range(inside, Macs(), space)
    rows = sample_within(limits, uniform(limits[0].table), n, np.random.default_rng(seed), distinct=True)
    return [space.architecture(row) for row in rows]


def _entry(role: str, arch: Architecture, macs: int, evaluation: Evaluation | None, costs: Sequence[Cost]) -> Entry:
    params, top1, top5 = (evaluation.params, evaluation.top1, evaluation.top5) if evaluation else (None, None, None)
    return Entry(role, arch.hash, macs, params, top1, top5, {cost.name: cost_at(arch, cost) for cost in costs})


def cost_at(arch: Architecture, cost: Cost) -> int | None:
    """Return a cost in atoms; None where a table lacks an architecture's blocks, as of another space."""
    try:
        return cost.of(arch)
    except ConfigError:
        return None


def macs_at(space: SearchSpace, arch: Architecture) -> int:
    """MACs of any architecture at a space's reference input."""
    at = space.reference
    return int(arch.as_space().cost_table(crop=at.crop, frames=at.frames, classes=at.classes).macs([arch])[0])


def range_around(space: SearchSpace, arch: Architecture) -> CostRange:
    """2 % either side of an architecture's MACs, as wide as the paper's 2.4 to 2.5 GFLOPs."""
    macs = macs_at(space, arch)
    return CostRange(macs * 98 // 100, macs * 102 // 100)


def like(space: SearchSpace, path: Path, rival: Architecture) -> Sequence[Constraint]:
    """Return a range of MACs around an architecture, and the other ranges of its search, if `path` is a search."""
    recorded = read_recorded(RunDirectory.open(path)) if path.is_dir() else ()
    return [Constraint(Macs(), range_around(space, rival)), *(c for c in recorded if c.cost != Macs())]


def space_of(path: Path | None, rival: Architecture | None) -> str | Path:
    """Return the space of the searched architecture: the one that its search has kept, or the shipped one it names."""
    if path is None or rival is None:
        return "two_stream"
    return path / "space.yaml" if (path / "space.yaml").is_file() else rival.space


def searched_at(what: str | Path) -> Path:
    """Return the search whose architecture.yaml `what` is, which knows more of it; any other path as it is."""
    path = Path(what)
    whole = path.name == "architecture.yaml" and (path.parent / "config.yaml").is_file()
    return path.parent if whole and RunDirectory.open(path.parent).kind != KIND else path


def find_rival(path: Path, videos: VideoSet, recipe: Recipe) -> Rival:
    """Find the architecture in a file or in a run, with its evaluation if the run is a finished training.

    Raises RunError if that training had another recipe or other data, or is not finished.
    """
    arch = find_architecture(path)
    run = RunDirectory.open(path) if path.is_dir() else None
    if run is None or run.kind != KIND:
        return Rival(arch)
    length = {"epochs": recorded_recipe(run.config).epochs}
    planned = {**run.config, "recipe": {**run.config["recipe"], **length}}
    if different := differences(planned, full_config(train_config(arch, videos, recipe), KIND)):
        raise RunError(
            f"{path} was trained otherwise than this baseline ({'; '.join(different)}); "
            f"give {path / 'architecture.yaml'} instead, and it is trained here"
        )
    evaluation = read_finished(path, recipe.steps(len(videos.train)), videos)
    if evaluation is None:
        raise RunError(
            f"the training in {path} is not finished; go on with it, or give {path / 'architecture.yaml'} instead"
        )
    return Rival(arch, evaluation)
