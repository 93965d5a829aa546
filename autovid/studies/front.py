"""The front of a search: the best architecture for each of several costs, from one search.

The range of the first constraint is cut into equal slices; each has the architecture that the search prefers inside it:
the most probable one under a prior, or the best of those scored. Of several constraints only what nothing dominates is
kept: no other one is at least as cheap in every cost and at least as good, and better in one of these.

    DIR/
      01.yaml 02.yaml ...  front.csv  front.png
      train-HASH/          a training's run directory for each, where asked
"""

import math
import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from autovid.costs import Cost, Macs
from autovid.data import VideoSet, open_videos
from autovid.data.lists import csv_text
from autovid.data.sources import recorded_source
from autovid.errors import ConfigError, CostRangeError, DataError
from autovid.fileio import explained, png_bytes
from autovid.kernels.compute import Compute
from autovid.run import Progress, write_atomic
from autovid.search import Constraint, Searched, derive, read_search
from autovid.search.constraints import final_constraints
from autovid.solver import UNLIMITED, CostRange
from autovid.space import Architecture, SearchSpace
from autovid.studies.by_training import Job, Trainer, chance_top1, macs_at, one_after_the_other
from autovid.studies.comparison import FIRST, MUTED, SECOND, new_axes
from autovid.train.accuracy import evaluate_network
from autovid.train.inherited import SupernetWeights, calibrate, has_supernet, open_supernet_weights
from autovid.train.recipe import make_recipe

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LABELS = {"log_probability": "log-probability under the prior (nats)", "log_likelihood": "log-likelihood (nats)"}
TABLE, PICTURE = "front.csv", "front.png"
LIKELIHOOD, PROBABILITY = "log_likelihood", "log_probability"  # what a search says of an architecture


@dataclass(frozen=True)
class FrontEntry:
    """The best architecture of a slice: its costs in atoms, and how good it is taken to be.

    `score` is the search's own: a log-probability under the prior, or a log-likelihood; None where it has not been
    scored. `supernet` and `alone` are top-1 on val, centre view, in percent: with the supernet's weights, and trained.
    """

    arch: Architecture
    costs: dict[Cost, int]
    score: float | None
    supernet: float | None = None
    alone: float | None = None


@dataclass
class Front:
    """The entries by rising first cost; how the supernet scored them, or why it did not."""

    entries: list[FrontEntry]
    costs: list[Cost]
    measure: str  # LIKELIHOOD or PROBABILITY
    empty: list[str] = field(default_factory=list)  # slices that hold nothing
    dominated: int = 0  # entries that were left out
    not_scored: str = ""
    videos: int = 0  # of val
    calibration: int = 0  # training clips
    chance: float = 0.0  # top-1 of the best constant answer, in percent
    trained: str = ""  # the length of the trainings, where there were any

    @property
    def accuracy(self) -> bool:
        """True if the supernet has scored one at least."""
        return any(entry.supernet is not None for entry in self.entries)

    def standard_error(self, top1: float) -> float:
        """Return the standard error of an accuracy in percent over the videos of val."""
        return math.sqrt(max(top1 * (100 - top1), 0.0) / max(self.videos, 1))


@dataclass(frozen=True)
class TrainingPlan:
    """The plan for training derived architectures: the recipe of `autovid train`, with `epochs` if they are given."""

    epochs: float | None
    workers: int = 0
    resume_command: str = ""

    def trainer(self, searched: Searched, videos: VideoSet, source: str, device: str) -> Trainer:
        """Return the trainer of the architectures of a search."""
        proxy, seed = searched.settings.proxy or source == "synthetic", searched.settings.seed
        recipe = make_recipe(searched.space, name="proxy" if proxy else "full", epochs=self.epochs, seed=seed)
        return Trainer(videos, source, recipe, device, self.workers, resume_command=self.resume_command)


def derive_front(
    path: Path,
    n: int,
    folder: Path,
    *,
    constraints: Sequence[Constraint] | None = None,
    data: str | None = None,
    device: str = "auto",
    training: TrainingPlan | None = None,
    progress: Progress | None = None,
) -> Front:
    """Derive the front of the search in `path`, score it where its data is there (or `data` is), and write `folder`.

    Raises ConfigError, CostRangeError where no slice holds an architecture, DataError, RunError.
    """
    searched = read_search(path)
    check_folder(folder)
    front = find_front(searched, n, constraints)
    videos, source = _score(front, path, data, device, progress)
    if videos is not None:
        front.chance = chance_top1(videos)
    keep_best(front)
    title = f"{searched.space.name}: the front of a search with {searched.settings.strategy}"
    write_front(folder, front, title, sentences(front, searched))
    if training is not None:
        if videos is None:
            raise DataError(f"{path}: there are no videos to train the front on; give them with --data")
        trainer = training.trainer(searched, videos, source, device)
        proxy = searched.settings.proxy or source == "synthetic"
        front.trained = f"{trainer.recipe.length}{', by the proxy recipe' * proxy}"
        train_all(
            front, trainer, folder, searched.space,
            lambda: write_front(folder, front, title, sentences(front, searched)),
        )  # fmt: skip
    return front


def _score(
    front: Front, path: Path, data: str | None, device: str, progress: Progress | None
) -> tuple[VideoSet | None, str]:
    """Score with the supernet if it and its videos are there; return the videos, and what they were opened from."""
    if not has_supernet(path):
        front.not_scored = "the search had no supernet"
        return (open_videos(data), recorded_source(data)) if data else (None, "")
    weights = open_supernet_weights(path)
    try:
        videos = weights.open_videos(data)
    except DataError:
        if data:
            raise
        front.not_scored = "the videos of the search are not there; give them with --data"
        return None, ""
    compute = Compute(device, weights.config.get("precision", "auto"))
    compute.restore(weights.record)
    score_by_supernet(front, weights, videos, compute, progress)
    return videos, recorded_source(data) if data else weights.source


def sentences(front: Front, searched: Searched) -> list[str]:
    """Say what the figures of a front are, and how far to trust them; the comparison with chance first."""
    lines = [searched.against_chance] if searched.against_chance else []
    if front.accuracy:
        lines.append(
            f"Top-1 of val ({front.videos} videos, centre view) with the supernet's weights, recalibrated on "
            f"{front.calibration} training clips; bars are a standard error. Chance is {front.chance:.1f} %."
        )
        values = [entry.supernet for entry in front.entries if entry.supernet is not None]
        if len(values) > 1 and max(values) - min(values) < 2 * math.sqrt(2) * max(map(front.standard_error, values)):
            lines.append("They differ by no more than noise does: this does not say which is better.")
    if front.not_scored:
        lines.append(f"Not scored by the supernet: {front.not_scored}.")
    if not front.accuracy:
        measure = "probability under the prior" if front.measure == PROBABILITY else "log-likelihood"
        lines.append(f"What is shown is the {measure}: what the search prefers, which is not accuracy.")
    if front.trained:
        chance = "" if front.accuracy else f" Chance is {front.chance:.1f} %."
        lines.append(f"Trained: each from scratch for {front.trained}; one seed.{chance}")
    if front.dominated:
        lines.append(f"{front.dominated} more were no better than another one that costs no more, and are left out.")
    if front.empty:
        lines.append(f"Nothing is in the slices {', '.join(front.empty)}.")
    return [*lines, *(cost.convention(searched.space.reference) for cost in front.costs)]


def find_front(searched: Searched, n: int, constraints: Sequence[Constraint] | None = None) -> Front:
    """Return the best architecture of each of `n` slices; `constraints` take the place of the search's own.

    Slices that hold nothing are left out. Raises CostRangeError where all are such.
    """
    asked = tuple(searched.constraints if constraints is None else constraints) or (Constraint(Macs()),)
    first, others = asked[0], asked[1:]
    costs = [constraint.cost for constraint in asked]
    measure = PROBABILITY if searched.learned else LIKELIHOOD
    front, refusal = Front([], costs, measure), CostRangeError("no slice holds an architecture")
    for ends in slices(first, searched.space, n):
        try:
            arch = derive(searched, [within(first, ends, searched.space), *others])
        except CostRangeError as error:
            front.empty.append(first.say(ends))
            refusal = error
            continue
        score = arch.provenance.get(measure)
        costs_of = {cost: cost.of(arch) for cost in costs}
        front.entries.append(FrontEntry(arch, costs_of, None if score is None else float(score)))
    if not front.entries:
        raise refusal
    return front


def slices(constraint: Constraint, space: SearchSpace, n: int) -> list[CostRange]:
    """Cut the range of the finished network, as far as the space reaches, into `n` equal slices without overlap."""
    table = constraint.cost.table(space)
    low, high = constraint.final(space) or CostRange(0, UNLIMITED)
    low, high = max(low, table.smallest()[0]), min(high, table.largest()[0])
    if low > high:
        span = constraint.say(CostRange(table.smallest()[0], table.largest()[0]))
        raise CostRangeError(f"no architecture costs {', '.join(constraint.spoken())}; the space has {span}")
    edges = [low + (high + 1 - low) * i // n for i in range(n + 1)]
    return [CostRange(a, b - 1) for a, b in pairwise(edges) if a < b]


def within(constraint: Constraint, ends: CostRange, space: SearchSpace) -> Constraint:
    """Return the constraint with another range of the finished network."""
    last = space.parts[-1].name
    own = constraint.own - {last}
    return Constraint(constraint.cost, ends, {name: constraint.parts[name] for name in own}, own)


def score_by_supernet(
    front: Front,
    weights: SupernetWeights,
    videos: VideoSet,
    compute: Compute,
    progress: Progress | None = None,
) -> None:
    """Evaluate each on val with its part of the supernet's weights, recalibrated.

    Not those outside the ranges of the search: there the supernet has not been trained to the end.
    """
    searched = weights.searched
    limits = final_constraints(searched.constraints, searched.space)
    front.videos = len(videos.val)
    scored = []
    if progress is not None:
        progress.start(len(front.entries), 0, "with the supernet's weights")
    try:
        for number, entry in enumerate(front.entries, 1):
            if all(limit.inside(searched.space.index([entry.arch]))[0] for limit in limits):
                net = weights.network(entry.arch).to(compute.device)
                front.calibration = calibrate(net, searched.settings, videos, compute)
                result = evaluate_network(net, weights.clip, videos.val, videos.root, "center", compute)
                entry = replace(entry, supernet=result.top1)
            scored.append(entry)
            if progress is not None:
                progress.update(number, entry.arch.hash, {})
    finally:
        if progress is not None:
            progress.close()
    front.entries = scored
    if missing := sum(entry.supernet is None for entry in scored):
        front.not_scored = f"{missing} of {len(scored)} are outside the ranges that the supernet was trained in"


def keep_best(front: Front) -> None:
    """Keep only architectures that no other one dominates, where there are several costs."""
    entries = front.entries
    if len(front.costs) > 1:
        front.entries = [one for one in entries if not any(dominates(other, one) for other in entries)]
    front.dominated = len(entries) - len(front.entries)


def dominates(one: FrontEntry, other: FrontEntry) -> bool:
    """Say whether `one` is nowhere worse than `other`, and better somewhere; what has no figure dominates nothing.

    Two that the supernet has evaluated are compared by that, others by the search's own score.
    """
    goods = (one.supernet, other.supernet)
    if None in goods:
        goods = (one.score, other.score)
    if goods[0] is None or goods[1] is None:
        return False
    of_one, of_other = ([*entry.costs.values(), -good] for entry, good in zip((one, other), goods) if good is not None)
    return all(a <= b for a, b in zip(of_one, of_other)) and of_one != of_other


def train_all(front: Front, trainer: Trainer, folder: Path, space: SearchSpace, report: Callable[[], object]) -> None:
    """Train each from scratch in `folder`, or go on there; `report` is called after each. One may diverge."""
    jobs = [
        Job("front", entry.arch, macs_at(space, entry.arch), f"train-{entry.arch.hash}", f"architecture {number}")
        for number, entry in enumerate(front.entries, 1)
    ]
    for number, result in one_after_the_other(jobs, trainer, folder):
        if not isinstance(result, str):
            front.entries[number] = replace(front.entries[number], alone=result.top1)
        report()


def check_folder(folder: Path) -> None:
    """Raise ConfigError where the folder of a front holds something else."""
    if folder.is_file():
        raise ConfigError(f"-o {folder} is a file; a front is a folder of files")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / TABLE).is_file():
        raise ConfigError(f"-o {folder} is not empty and holds no front; choose another -o")


def write_front(folder: Path, front: Front, title: str, sentences: Sequence[str]) -> list[Path]:
    """Write the architectures, the table and the picture, in place of an earlier front; return the architectures."""
    check_folder(folder)
    with explained(f"cannot make {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
    width = max(2, len(str(len(front.entries))))
    files = [folder / f"{number:0{width}}.yaml" for number in range(1, len(front.entries) + 1)]
    write_atomic(folder / TABLE, csv_text(_rows(front, files)))
    for old in folder.iterdir():
        if re.fullmatch(r"\d{2,}\.yaml", old.name) and old not in files:
            old.unlink()
    for file, entry in zip(files, front.entries):
        write_atomic(file, entry.arch.to_yaml())
    write_atomic(folder / PICTURE, front_png(front, title, sentences))
    return files


def _rows(front: Front, files: Sequence[Path]) -> list[list[object]]:
    rows: list[list[object]] = [
        ["file", "hash", *(cost.metric for cost in front.costs), front.measure, "supernet_top1", "trained_top1"]
    ]
    for file, entry in zip(files, front.entries):
        costs = (cost.quantity.text(atoms) for cost, atoms in entry.costs.items())
        figures = (entry.score, entry.supernet, entry.alone)
        rows.append(
            [file.name, entry.arch.hash, *costs, *("" if value is None else round(value, 6) for value in figures)]
        )
    return rows


def front_png(front: Front, title: str, sentences: Sequence[str]) -> bytes:
    """Return the picture as a PNG of 1400 pixels across."""
    from matplotlib.figure import Figure

    text = "\n".join(textwrap.fill(sentence, 118) for sentence in sentences)
    height = 4.2 + 0.15 * (text.count("\n") + 1)
    figure = Figure(figsize=(7, height), dpi=200, layout="constrained")
    axes = new_axes(figure)
    _points(axes, front)
    axes.set_xlabel(f"{front.costs[0].quantity.what} ({front.costs[0].quantity.unit})", fontsize=9)
    axes.margins(x=0.05, y=0.15)
    axes.tick_params(labelsize=8)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, frameon=False, loc="best")
    axes.set_title(title, fontsize=10, parse_math=False)  # a name may hold a $
    figure.supxlabel(text, fontsize=7, color=MUTED, x=0.02, ha="left", parse_math=False)
    return png_bytes(figure)


def _points(axes: "Axes", front: Front) -> None:
    cost = front.costs[0]
    x_of = [entry.costs[cost] / cost.quantity.atoms for entry in front.entries]
    style = "o-" if len(front.costs) == 1 else "o"
    alone = [(x, entry.alone) for x, entry in zip(x_of, front.entries) if entry.alone is not None]
    if alone:
        xs, ys = map(list, zip(*alone))
        axes.plot(xs, ys, "*", color=SECOND, markersize=11, label="trained from scratch", zorder=4)
    if front.accuracy:
        scored = [(x, entry.supernet) for x, entry in zip(x_of, front.entries) if entry.supernet is not None]
        xs, ys = map(list, zip(*scored))
        bars = [front.standard_error(top1) for top1 in ys]
        label = "with the supernet's weights"
        axes.errorbar(xs, ys, bars, fmt=style, color=FIRST, capsize=2, linewidth=1, elinewidth=0.8, label=label)
    if front.accuracy or alone:
        axes.set_ylabel("top-1 accuracy (%)", fontsize=9)
        if front.chance:
            axes.axhline(front.chance, color=MUTED, linewidth=1, linestyle="--", label="chance")
        return
    scores = [(x, entry.score) for x, entry in zip(x_of, front.entries) if entry.score is not None]
    if scores:
        axes.plot([x for x, _ in scores], [score for _, score in scores], style, color=FIRST, linewidth=1)
    axes.set_ylabel(LABELS[front.measure], fontsize=9)
