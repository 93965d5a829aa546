"""The random baseline: distinct architectures of a FLOPs range, each trained from scratch by one recipe.

The paper's section 5: 16 architectures of 2.4 to 2.5 GFLOPs a view, beside the searched one. Here they are trained one
after the other; who has a cluster gives another `Runner`.

    DIR/
      config.yaml  log.txt  table.csv  table.md  plot.png
      arch-HASH/   a training's run directory for each architecture; searched-HASH/ for the searched one
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from autovid.costs import Cost, Macs, gflops
from autovid.data import VideoSet
from autovid.errors import ConfigError, DivergedError, RunError
from autovid.kernels.compute import Compute
from autovid.run import Progress, RunDirectory
from autovid.run.config_file import differences, full_config
from autovid.search import Constraint
from autovid.search.constraints import or_reach, uniform, whole_constraints
from autovid.solver import UNLIMITED, CostRange, TableConstraint, sample_within
from autovid.space import Architecture, SearchSpace
from autovid.studies.comparison import Comparison, Entry, write_comparison
from autovid.train.evaluate import Evaluation
from autovid.train.recipe import Recipe
from autovid.train.train import read_finished, train_config, train_model
from autovid.train.trained import KIND, find_architecture


@dataclass(frozen=True)
class Trainer:
    """By which recipe, on what and where every architecture of a comparison is trained."""

    videos: VideoSet
    source: str
    recipe: Recipe
    device: str = "auto"
    workers: int = 0
    resume_command: str = ""
    progress: Callable[[str], Progress] = Progress  # makes the display of one training from its title

    @cached_property
    def compute(self) -> Compute:
        """Where it is trained: found when it is first needed, as that may be on another machine."""
        return Compute(self.device, self.recipe.precision)

    def train(self, arch: Architecture, out: Path, title: str) -> Evaluation:
        """Begins the training in `out`, goes on with it, or takes what it came to."""
        return train_model(
            arch,
            self.videos,
            self.recipe,
            out,
            source=self.source,
            compute=self.compute,
            workers=self.workers,
            resume=out.is_dir(),
            progress=self.progress(title),
            resume_command=self.resume_command,
        )


@dataclass(frozen=True)
class Rival:
    """What the random ones are compared with: an architecture, and what its training came to, if it is done."""

    arch: Architecture
    evaluation: Evaluation | None = None


class Job(NamedTuple):
    """One architecture to be trained: its part in the comparison, its run directory's name, what the display says."""

    kind: str  # "random" or "searched"
    arch: Architecture
    macs: int
    name: str
    title: str

    def run(self, trainer: Trainer, folder: Path) -> Evaluation | str:
        """Its training in `folder`; what was said where it diverged."""
        try:
            return trainer.train(self.arch, folder / self.name, self.title)
        except DivergedError as error:
            return str(error)


Runner = Callable[[Sequence[Job], Trainer, Path], Iterator[tuple[int, Evaluation | str]]]
MOST = 10_000  # architectures: each of them is trained


def one_after_the_other(jobs: Sequence[Job], trainer: Trainer, folder: Path) -> Iterator[tuple[int, Evaluation | str]]:
    """What every job came to, with its number: evaluated, or why not."""
    for number, job in enumerate(jobs):
        yield number, job.run(trainer, folder)


def random_baseline(
    space: SearchSpace,
    constraints: Sequence[Constraint],
    n: int,
    trainer: Trainer,
    out: Path,
    *,
    seed: int = 0,
    rival: Rival | None = None,
    resume: bool = False,
    report: Callable[[Comparison], None] = lambda comparison: None,
    runner: Runner = one_after_the_other,
) -> Comparison:
    """Trains `n` architectures drawn uniformly from those in the ranges given, and the searched one before them.

    After each one the table and the plot in `out` are brought up to date and `report` is called. One that diverges is
    an entry without accuracy and stops nothing. Raises CostRangeError where the range holds no or too few
    architectures, RunError where `out` was made with another configuration, and what `train_model` raises.
    """
    if not 1 <= n <= MOST:
        raise ConfigError(f"{n} architectures: give 1 to {MOST:,}")
    archs = draw(space, n, seed, whole_constraints(constraints, space))
    macs = [macs_at(space, arch) for arch in archs]
    config = _config(space, constraints, archs, seed, trainer, rival)
    with RunDirectory.create_or_resume(out, config, kind="random-baseline", resume=resume) as run:
        videos, shown = trainer.videos, _shown_macs(constraints, macs)
        costs = [constraint.cost for constraint in constraints if constraint.cost != Macs()]
        comparison = Comparison(
            space.name, tuple(constraints), shown, space.reference, videos.name, len(videos.classes), trainer.recipe, n
        )  # fmt: skip
        jobs = _jobs(space, archs, rival)
        entries: list[Entry | None] = [None] * len(jobs)
        if rival is not None and rival.evaluation is not None:
            macs_of_it = macs_at(space, rival.arch)
            comparison.entries = [_entry("searched", rival.arch, macs_of_it, rival.evaluation, costs)]
        done = list(comparison.entries)
        for number, found in runner(jobs, trainer, run.path):
            job = jobs[number]
            run.log(f"{job.name}: {found if isinstance(found, str) else f'top-1 {found.top1:.2f} %'}")
            evaluation = None if isinstance(found, str) else found
            entries[number] = _entry(job.kind, job.arch, job.macs, evaluation, costs)
            comparison.entries = done + [entry for entry in entries if entry is not None]
            write_comparison(run.path, comparison)
            report(comparison)
    return comparison


def draw(space: SearchSpace, n: int, seed: int, inside: Sequence[TableConstraint] = ()) -> list[Architecture]:
    """`n` distinct architectures drawn uniformly from those inside all ranges.

    Raises CostRangeError where the ranges hold no or too few architectures.
    """
    table = Macs().table(space)
    rows = sample_within(or_reach(inside, table), uniform(table), n, np.random.default_rng(seed), distinct=True)
    return [space.architecture(row) for row in rows]


def _shown_macs(constraints: Sequence[Constraint], macs: Sequence[int]) -> CostRange:
    """The range of MACs, or that of the architectures where it has no end."""
    (asked,) = [c.whole for c in constraints if c.cost == Macs() and c.whole] or [CostRange(0, UNLIMITED)]
    return CostRange(asked.low or min(macs), max(macs) if asked.high == UNLIMITED else asked.high)


def _config(
    space: SearchSpace,
    constraints: Sequence[Constraint],
    archs: list[Architecture],
    seed: int,
    trainer: Trainer,
    rival: Rival | None,
) -> dict[str, object]:
    drawn = hashlib.sha256(" ".join(arch.hash for arch in archs).encode()).hexdigest()[:12]
    return {
        "space": space.name,
        "n": len(archs),
        "seed": seed,
        "drawn": drawn,
        "searched": rival.arch.hash if rival else "none",
        "data": {"name": trainer.videos.name, "fingerprint": trainer.videos.fingerprint},
        "recipe": trainer.recipe.recorded(),
        "constraints": {constraint.cost.option: constraint.record() for constraint in constraints},
    }


def _jobs(space: SearchSpace, archs: Sequence[Architecture], rival: Rival | None) -> list[Job]:
    """The searched architecture, unless it is trained already, and the random ones."""
    jobs = []
    if rival is not None and rival.evaluation is None:
        macs = macs_at(space, rival.arch)
        title = f"searched architecture · {rival.arch.hash} · {gflops(macs, digits=4)} GFLOPs"
        jobs.append(Job("searched", rival.arch, macs, f"searched-{rival.arch.hash}", title))
    for number, arch in enumerate(archs, 1):
        macs = macs_at(space, arch)
        title = f"architecture {number} of {len(archs)} · {arch.hash} · {gflops(macs, digits=4)} GFLOPs"
        jobs.append(Job("random", arch, macs, f"arch-{arch.hash}", title))
    return jobs


def _entry(role: str, arch: Architecture, macs: int, found: Evaluation | None, costs: Sequence[Cost]) -> Entry:
    params, top1, top5 = (None, None, None) if found is None else (found.params, found.top1, found.top5)
    return Entry(role, arch.hash, macs, params, top1, top5, {cost.name: cost_at(arch, cost) for cost in costs})


def cost_at(arch: Architecture, cost: Cost) -> int | None:
    """A cost in atoms; None where a table lacks an architecture's blocks, as of another space."""
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


def find_rival(path: Path, videos: VideoSet, recipe: Recipe) -> Rival:
    """The architecture in an architecture file or in a run; with its evaluation if the run is a finished training.

    Raises RunError if that training had another recipe or other data, or is not finished.
    """
    arch = find_architecture(path)
    run = RunDirectory.open(path) if path.is_dir() else None
    if run is None or run.kind != KIND:
        return Rival(arch)
    if different := differences(run.config, full_config(train_config(arch, videos, recipe), KIND)):
        raise RunError(
            f"{path} was trained otherwise than this baseline ({'; '.join(different)}); "
            f"give {path / 'architecture.yaml'} instead, and it is trained here"
        )
    evaluation = read_finished(path, videos)
    if evaluation is None:
        raise RunError(
            f"the training in {path} is not finished; go on with it, or give {path / 'architecture.yaml'} instead"
        )
    return Rival(arch, evaluation)
