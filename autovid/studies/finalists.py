"""Finalists of a search: its best architectures, trained by successive halving; the winner is taken.

Jamieson and Talwalkar, "Non-stochastic best arm identification and hyperparameter optimization", 2015, arXiv
1502.07943. All are trained for a part of the epochs, the better half for twice as many, and so on, until one is left,
which is trained for all of them. A training goes on from where it stood, by the schedule of its new length
(autovid/train/trained.py). Each round goes by top-1 on val. So the winner's top-1 has been chosen by val.

    DIR/
      finalists.csv   a line for each architecture and round, from which a run that was stopped goes on
      train-HASH/     the run directory of each training
"""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np

from autovid.data import VideoSet, open_videos
from autovid.data.lists import csv_text
from autovid.data.sources import recorded_source
from autovid.errors import ConfigError, DataError, DivergedError
from autovid.run import write_atomic
from autovid.search import Constraint, Searched, derive
from autovid.search.constraints import final_constraints, whole_constraints
from autovid.search.derivation import described
from autovid.search.problem import whole_problem
from autovid.search.strategy import make_strategy
from autovid.space import Architecture
from autovid.studies.by_training import Trainer, chance_top1
from autovid.studies.front import TrainingPlan
from autovid.train.inherited import has_supernet, open_supernet_weights
from autovid.train.train import resume_training

FOLDER = "finalists"  # in the search's directory
TABLE = "finalists.csv"
COLUMNS = ["hash", "epochs", "top1"]


@dataclass(frozen=True)
class Result:
    """The top-1 on val, in percent, of an architecture after so many epochs; None where its training diverged."""

    hash: str
    epochs: float
    top1: float | None


def best_architectures(
    searched: Searched, n: int, constraints: Sequence[Constraint] | None = None
) -> list[Architecture]:
    """Return up to `n` distinct architectures, the search's choice first, then who came next in the race.

    Where there was none in these ranges, or they are too few, the strategy's best ones follow.

    `constraints` take the place of the search's own. Raises CostRangeError where the ranges hold nothing.
    """
    asked = searched.constraints if constraints is None else constraints
    limits = (final_constraints if constraints is None else whole_constraints)(asked, searched.space)
    problem = whole_problem(searched.space, limits, learned=searched.learned, seed=searched.settings.seed)
    strategy = make_strategy(searched.settings.strategy, problem, searched.settings.options)
    if not searched.learned:
        strategy.load(searched.state)
    rows = strategy.candidates(n, limits, np.random.default_rng(searched.settings.seed))
    first, raced = derive(searched, constraints), []
    if constraints is None and searched.choice is not None:
        raced = [searched.space.architecture(searched.row(one.choices)) for one in searched.choice.next_best]
    archs = {arch.hash: arch for arch in (first, *raced, *(searched.space.architecture(row) for row in rows))}
    return list(archs.values())[:n]


def derive_finalist(
    path: Path,
    searched: Searched,
    n: int,
    plan: TrainingPlan,
    constraints: Sequence[Constraint] | None = None,
    *,
    data: str | None = None,
    device: str = "auto",
) -> tuple[Architecture, list[Result], float]:
    """Train the `n` best architectures of the search in `path` by successive halving.

    Return the winner, all results, and top-1 by chance on val, in percent.
    Raises what `best_architectures`, `videos_of` and `halve` raise.
    """
    archs = best_architectures(searched, n, constraints)
    videos, source = videos_of(path, searched, data)
    best, results = halve(archs, plan.trainer(searched, videos, source, device), path / FOLDER)
    chance = chance_top1(videos)
    return winner(best, results, searched, chance, constraints), results, chance


def videos_of(path: Path, searched: Searched, data: str | None) -> tuple[VideoSet, str]:
    """Open `data`, or the videos of the search in `path`; return them, and what they were opened from.

    Raises DataError where they cannot be read.
    """
    if data:
        return open_videos(data, seed=searched.settings.seed), recorded_source(data)
    if not has_supernet(path):
        raise DataError(f"{path} has learned from no videos; give those to train the finalists on with --data")
    weights = open_supernet_weights(path)
    return weights.open_videos(), weights.source


def halve(archs: Sequence[Architecture], trainer: Trainer, folder: Path) -> tuple[Architecture, list[Result]]:
    """Train architectures in `folder` by successive halving, or go on there; return the winner and all results.

    Of two with equal top-1 the one that stands first in `archs` is kept. Raises ConfigError where `folder` holds
    finalists of another search or recipe, DivergedError where every training of a round diverges.
    """
    results, recipe = _read(folder), trainer.recipe
    rounds = [recipe.epochs / 2**left for left in range(math.ceil(math.log2(len(archs))), -1, -1)]
    warmup = recipe.warmup * rounds[0] / recipe.epochs
    trainer = replace(trainer, recipe=msgspec.structs.replace(recipe, epochs=rounds[0], warmup=warmup))
    alive = list(archs)
    known = {arch.hash for arch in archs}
    if any(one.hash not in known or one.epochs not in rounds for one in results):
        raise ConfigError(f"{folder / TABLE} is of other finalists or epochs; delete {folder}, or take it elsewhere")
    for number, epochs in enumerate(rounds):
        for place, arch in enumerate(alive, 1):
            if any((one.hash, one.epochs) == (arch.hash, epochs) for one in results):
                continue
            title = f"finalist {place} of {len(alive)}, {epochs:g} epochs · {arch.hash}"
            results.append(Result(arch.hash, epochs, _train(arch, trainer, folder, epochs, title, longer=number > 0)))
            write_atomic(folder / TABLE, csv_text([COLUMNS, *map(_row, results)]))
        alive = _better_half(alive, {one.hash: one.top1 for one in results if one.epochs == epochs})
    return alive[0], results


def _train(
    arch: Architecture, trainer: Trainer, folder: Path, epochs: float, title: str, *, longer: bool
) -> float | None:
    """Train an architecture from scratch, or `longer` than in the round before; return its top-1."""
    out = folder / f"train-{arch.hash}"
    try:
        if not longer:
            return trainer.train(arch, out, title).top1
        return resume_training(
            out,
            trainer.videos,
            source=trainer.source,
            compute=trainer.compute,
            epochs=epochs,
            workers=trainer.workers,
            cache=trainer.frames,
            progress=trainer.progress(title),
            resume_command=trainer.resume_command,
        ).top1
    except DivergedError:
        return None


def _better_half(archs: Sequence[Architecture], top1: dict[str, float | None]) -> list[Architecture]:
    """Return the better half, at least one, without those whose training diverged."""
    left = [(-value, place, arch) for place, arch in enumerate(archs) if (value := top1[arch.hash]) is not None]
    if not left:
        raise DivergedError("the training of every finalist diverged; give a smaller learning rate, or other epochs")
    left.sort(key=lambda one: one[:2])
    return [arch for _, _, arch in left[: math.ceil(len(archs) / 2)]]


def winner(
    arch: Architecture,
    results: Sequence[Result],
    searched: Searched,
    chance: float,
    constraints: Sequence[Constraint] | None = None,
) -> Architecture:
    """Return the winner with what is to be known of it; `chance` is top-1 on val, in percent."""
    asked = searched.constraints if constraints is None else constraints
    top1 = [one.top1 for one in results if one.hash == arch.hash][-1]
    text = (
        f"the best of {len({one.hash for one in results})} finalists, trained by successive halving up to "
        f"{max(one.epochs for one in results):g} epochs: top-1 {top1:.2f} % (chance {chance:.1f} %) "
        "on val, which has chosen it"
    )
    return described(searched, arch, 0.0, asked, text)


def _row(result: Result) -> list[object]:
    return [result.hash, f"{result.epochs:g}", "" if result.top1 is None else f"{result.top1:.4f}"]


def _read(folder: Path) -> list[Result]:
    file = folder / TABLE
    if not file.is_file():
        return []
    with file.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    try:
        return [Result(row["hash"], float(row["epochs"]), float(row["top1"]) if row["top1"] else None) for row in rows]
    except (KeyError, ValueError, TypeError):
        raise ConfigError(f"{file} is no table of finalists; delete it") from None
