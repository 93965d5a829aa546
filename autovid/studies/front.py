"""The front of a search: the best architecture for each of several costs, from one search.

What the candidates are, and which are taken: autovid/studies/front_candidates.py.

    DIR/
      01.yaml 02.yaml ...  front.csv  front.png
      train-HASH/          a training's run directory for each, where asked
"""

import math
import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from autovid.data import VideoSet, open_videos
from autovid.data.lists import csv_text
from autovid.data.sources import recorded_source
from autovid.errors import ConfigError, DataError
from autovid.fileio import explained, png_bytes
from autovid.kernels.compute import Compute
from autovid.run import Progress, write_atomic
from autovid.search import Constraint, Searched, read_search
from autovid.search.derivation import described
from autovid.search.problem import prefers_nothing
from autovid.space import Architecture, SearchSpace
from autovid.studies.by_training import Job, Trainer, chance_top1, macs_at, one_after_the_other
from autovid.studies.comparison import FIRST, MUTED, SECOND, new_axes
from autovid.studies.front_candidates import (
    CANDIDATES,
    LIKELIHOOD,
    PROBABILITY,
    Front,
    FrontEntry,
    find_candidates,
    judge,
    take_best,
)
from autovid.train.accuracy import evaluate_network
from autovid.train.inherited import SupernetWeights, calibrate, has_supernet, open_supernet_weights
from autovid.train.recipe import make_recipe

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LABELS = {PROBABILITY: "log-probability under the prior (nats)", LIKELIHOOD: "log-likelihood (nats)"}
TABLE, PICTURE = "front.csv", "front.png"
FIGURES = ("held_out_loss", "supernet_top1", "trained_top1")  # columns of the table


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
    front = find_candidates(searched, n, constraints)
    weights, videos, source = _open(front, path, data)
    if weights is None or videos is None:
        _take(front, n, searched)
    else:
        compute = Compute(device, weights.config.get("precision", "auto"))
        compute.restore(weights.record)
        judge(front, weights, videos, compute, progress)
        _take(front, n, searched)
        score_by_supernet(front, weights, videos, compute, progress)
    if videos is not None:
        front.chance = chance_top1(videos)
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


def _open(front: Front, path: Path, data: str | None) -> tuple[SupernetWeights | None, VideoSet | None, str]:
    """Open the supernet and its videos if they are there; return them, and what the videos were opened from."""
    if not has_supernet(path):
        front.not_scored = "the search had no supernet"
        return (None, open_videos(data), recorded_source(data)) if data else (None, None, "")
    weights = open_supernet_weights(path)
    try:
        videos = weights.open_videos(data)
    except DataError:
        if data:
            raise
        front.not_scored = "the videos of the search are not there; give them with --data"
        return None, None, ""
    return weights, videos, recorded_source(data) if data else weights.source


def _take(front: Front, n: int, searched: Searched) -> None:
    take_best(front, n)
    front.entries = [replace(entry, arch=_described(entry, front, searched)) for entry in front.entries]


def _described(entry: FrontEntry, front: Front, searched: Searched) -> Architecture:
    """Return the architecture of an entry with its figures and with how it came about."""
    if entry.loss is None:
        choice = f"not scored by the supernet: {front.not_scored}"
    else:
        of_slice = sum(other.slice == entry.slice and other.loss is not None for other in front.candidates)
        best = f"the best of {of_slice} candidates of its slice"
        if len(front.costs) > 1:
            best = f"one of {front.not_dominated} that none of {front.judged} candidates dominates"
        choice = f"{best}: loss {entry.loss:.3f} on {front.clips:,} held-out clips (chance {front.chance_loss:.3f})"
    return described(searched, entry.arch, 0.0, entry.slice, choice)


def sentences(front: Front, searched: Searched) -> list[str]:
    """Say what the figures of a front are, and how far to trust them; the comparison with chance first."""
    lines = [searched.against_chance] if searched.against_chance else []
    lines += _of_choice(front)
    if front.accuracy:
        lines.append(
            f"Top-1 of val ({front.videos} videos, centre view) with the supernet's weights, recalibrated on "
            f"{front.calibration} training clips; bars are a standard error. Chance is {front.chance:.1f} %."
        )
        values = [entry.supernet for entry in front.entries if entry.supernet is not None]
        if len(values) > 1 and max(values) - min(values) < 2 * math.sqrt(2) * max(map(front.standard_error, values)):
            lines.append("They differ by no more than noise does: this does not say which is better.")
    lines += _of_the_rest(front, searched)
    if front.trained:
        chance = "" if front.accuracy else f" Chance is {front.chance:.1f} %."
        lines.append(f"Trained: each from scratch for {front.trained}; one seed.{chance}")
    if front.empty:
        lines.append(f"Nothing is in the slices {', '.join(front.empty)}.")
    return [*lines, *(cost.convention(searched.space.reference) for cost in front.costs)]


def _of_choice(front: Front) -> list[str]:
    """Say how the entries were taken of the candidates, and whether the search's own choice is one of them."""
    lines, better = [], f"larger {front.measure.replace('_', '-')}"
    if front.judged:
        better = "smaller loss"
        lines.append(
            f"Chosen by the loss on {front.clips:,} held-out clips (chance {front.chance_loss:.3f}) among "
            f"{front.judged} candidates, at most {CANDIDATES} in a slice. Val was not used for this."
        )
    if len(front.costs) > 1:
        lines.append(f"{front.not_dominated} are not dominated: nothing that costs no more has a {better}.")
        if front.not_dominated > len(front.entries):
            lines.append(f"{len(front.entries)} of these are shown, evenly spaced in the order of that.")
    own = next((entry for entry in front.candidates if entry.arch.hash == front.own), None)
    if own is not None:
        at = [name for name, entry in zip(front.names, front.entries) if entry.arch.hash == front.own]
        loss = "" if own.loss is None else f"; its loss here is {own.loss:.3f}"
        lines.append(
            f"The search's own choice is {at[0]}." if at else f"The search's own choice is not among them{loss}."
        )
    return lines


def _of_the_rest(front: Front, searched: Searched) -> list[str]:
    """Say what has not been judged, and what stands there."""
    lines, rest = [], [(name, entry) for name, entry in zip(front.names, front.entries) if entry.loss is None]
    if not front.judged:
        measure = "probability under the prior" if front.measure == PROBABILITY else "log-likelihood"
        lines.append(f"Not scored by the supernet: {front.not_scored}.")
        lines.append(f"What is shown is the {measure}: what the search prefers, which is not accuracy.")
    elif rest:
        names = ", ".join(name for name, _ in rest)
        lines.append(f"Not scored by the supernet: {names} ({front.not_scored}). There stands what the search prefers.")
    if front.left_out:
        why = f" by the supernet ({front.not_scored})" if front.judged else " by the search"
        lines.append(f"{front.left_out} candidates are left out: they are not scored{why}.")
    if rest and searched.learned and prefers_nothing(searched.learned.values()):
        lines.append("All are equally probable: the prior has not moved, and the search prefers none of them.")
    drawn = [name for name, entry in rest if entry.score is None]
    if drawn and "scored" in searched.state:
        lines.append(f"Not scored by the search either, but drawn at random: {', '.join(drawn)}.")
    return lines


def score_by_supernet(
    front: Front,
    weights: SupernetWeights,
    videos: VideoSet,
    compute: Compute,
    progress: Progress | None = None,
) -> None:
    """Evaluate what it has judged on val, each with its part of the supernet's weights, recalibrated."""
    front.videos = len(videos.val)
    scored = []
    if progress is not None:
        progress.start(len(front.entries), 0, "with the supernet's weights")
    try:
        for number, entry in enumerate(front.entries, 1):
            if entry.loss is not None:
                net = weights.network(entry.arch).to(compute.device)
                front.calibration = calibrate(net, weights.searched.settings, videos, compute)
                result = evaluate_network(net, weights.clip, videos.val, videos.root, "center", compute)
                entry = replace(entry, supernet=result.top1)
            scored.append(entry)
            if progress is not None:
                progress.update(number, entry.arch.hash, {})
    finally:
        if progress is not None:
            progress.close()
    front.entries = scored


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
    files = [folder / name for name in front.names]
    write_atomic(folder / TABLE, csv_text(_rows(front, files)))
    for old in folder.iterdir():
        if re.fullmatch(r"\d{2,}\.yaml", old.name) and old not in files:
            old.unlink()
    for file, entry in zip(files, front.entries):
        write_atomic(file, entry.arch.to_yaml())
    write_atomic(folder / PICTURE, front_png(front, title, sentences))
    return files


def _rows(front: Front, files: Sequence[Path]) -> list[list[object]]:
    rows: list[list[object]] = [["file", "hash", *(cost.metric for cost in front.costs), front.measure, *FIGURES]]
    for file, entry in zip(files, front.entries):
        costs = (cost.quantity.text(atoms) for cost, atoms in entry.costs.items())
        figures = (entry.score, entry.loss, entry.supernet, entry.alone)
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
