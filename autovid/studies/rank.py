"""A comparison of rankings: `n` architectures by the supernet, by scores that need no training, and by trainings.

DIR/
  config.yaml  log.txt  rank.json  table.csv  plot.png
  arch-HASH/   a training's run directory for each architecture
"""

import contextlib
import json
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from autovid.costs import convention, gflops
from autovid.data import VideoSet
from autovid.data.lists import csv_text
from autovid.errors import ConfigError, DataError
from autovid.fileio import png_bytes
from autovid.run import Progress, RunDirectory, write_atomic
from autovid.search.derivation import parameters
from autovid.space import Architecture
from autovid.studies.by_training import MOST, Job, Runner, Trainer, draw, macs_at, one_after_the_other
from autovid.studies.correlation import interval, kendall, spearman, spoken, tied_pairs
from autovid.studies.supernet import PartSupernet
from autovid.studies.zero_cost import synaptic_flow

STATISTICS = {"Kendall's tau-b": kendall, "Spearman's rho": spearman}
FEWEST = 3
WAYS = ("supernet", "recalibrated")
UNTRAINED = {"macs": "MACs alone", "params": "parameters alone", "synaptic_flow": "synaptic flow alone"}


class RankedArchitecture(msgspec.Struct):
    """An architecture of a ranking. Top-1 in percent on val, centre view; None: not trained yet, or diverged.

    `synaptic_flow` is a log10 (autovid/studies/zero_cost.py).
    """

    hash: str
    macs: int
    params: int
    synaptic_flow: float
    supernet: float
    recalibrated: float
    alone: float | None = None


class Correlation(msgspec.Struct):
    """A correlation and its 95 % interval; None where there are too few architectures for it, or all are alike."""

    value: float | None
    interval: tuple[float | None, float | None]


class RankFile(msgspec.Struct):
    """The content of rank.json as readers need it; correlations by way of scoring and statistic.

    `evidence` says how the supernet compares with chance; the first rankings do not have it.
    """

    space: str
    architectures: list[RankedArchitecture]
    correlations: dict[str, dict[str, Correlation]]
    evidence: str = ""


@dataclass
class Ranking:
    """A ranking of `n` architectures, as far as it has come."""

    space: str
    part: str
    n: int
    data: str
    about: str
    evidence: str = ""  # how the supernet compares with chance
    entries: list[RankedArchitecture] = field(default_factory=list)

    def correlations(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Return value and 95 % bootstrap interval by way and statistic; nan for too few values, or all ties."""
        done = [(e, e.alone) for e in self.entries if e.alone is not None]
        alone = [top1 for _, top1 in done]
        scored = {way: [getattr(e, way) for e, _ in done] for way in (*WAYS, *UNTRAINED)}
        return {
            way: {
                name: {"value": statistic(top1, alone), "interval": list(interval(statistic, top1, alone))}
                for name, statistic in STATISTICS.items()
            }
            for way, top1 in scored.items()
        }

    def lines(self) -> list[str]:
        """Return the result in words, the comparison with chance first."""
        done = sum(e.alone is not None for e in self.entries)
        lines = [self.evidence] if self.evidence else []
        lines.append(f"{done} of {self.n} architectures of part {self.part} of {self.space}, {self.data}; {self.about}")
        if done < FEWEST:
            return lines
        for way, statistics in self.correlations().items():
            title, what = (UNTRAINED[way], "value") if way in UNTRAINED else (way, "accuracy")
            if not all(np.isfinite(s["value"]) for s in statistics.values()):
                lines.append(f"{title}: no ranking, since all have the same {what}, there or alone")
                continue
            figures = [spoken(name, s["value"], s["interval"]) for name, s in statistics.items()]
            lines.append(f"{title}: {', '.join(figures)}{self._ties(way)}")
        return lines

    def _ties(self, way: str) -> str:
        """Say how many pairs have no order, if there are any."""
        scores = [(getattr(e, way), e.alone) for e in self.entries if e.alone is not None]
        tied = tied_pairs(*zip(*scores))
        return f"; {tied} of {len(scores) * (len(scores) - 1) // 2} pairs are tied" if tied else ""


def rank(
    supernet: PartSupernet,
    n: int,
    trainer: Trainer,
    out: Path,
    *,
    seed: int = 0,
    resume: bool = False,
    report: Callable[[Ranking], None] = lambda ranking: None,
    runner: Runner = one_after_the_other,
) -> Ranking:
    """Draw `n` distinct architectures of the supernet's part, from its ranges if it has any, and rank them.

    Files in `out` are updated after each evaluation with the supernet, which a resumed ranking does not repeat, and
    after each training. Raises CostRangeError where there are too few architectures, DataError for other data than the
    search's, RunError where `out` has another configuration.
    """
    if not FEWEST <= n <= MOST:
        raise ConfigError(f"{n} architectures cannot be ranked; give {FEWEST} to {MOST:,}")
    videos = trainer.videos
    if videos.fingerprint != supernet.fingerprint:
        raise DataError(f"the search has learned from other data than {videos.name}; give its own with --data")
    archs = draw(supernet.space, n, seed, supernet.constraints)
    with RunDirectory.create_or_resume(out, _config(supernet, archs, seed, trainer), kind="rank", resume=resume) as run:
        if trainer.resume_command:
            run.log(f"goes on with: {trainer.resume_command}")
        recipe = trainer.recipe
        about = f"trained alone for {recipe.length}; top-1 of val, centre view"
        told = supernet.searched.against_chance
        ranking = Ranking(supernet.searched.space.name, supernet.part, n, videos.name, about, told)
        _evaluate_all(supernet, archs, trainer, ranking, run)
        jobs = [_job(supernet, arch, number, n) for number, arch in enumerate(archs, 1)]
        for number, result in runner(jobs, trainer, run.path):
            alone = None if isinstance(result, str) else result.top1
            ranking.entries[number].alone = alone
            run.log(f"{jobs[number].name}: {result if isinstance(result, str) else f'top-1 {alone:.2f} %'}")
            write_ranking(run.path, ranking, supernet)
            report(ranking)
    return ranking


def _evaluate_all(
    supernet: PartSupernet, archs: list[Architecture], trainer: Trainer, ranking: Ranking, run: RunDirectory
) -> None:
    """Evaluate each with the supernet's weights, except those that an earlier start has evaluated."""
    ranking.entries = _evaluated_before(run.path, [arch.hash for arch in archs])
    shown = Progress(f"{len(archs)} architectures with the supernet")
    shown.start(len(archs), len(ranking.entries))
    try:
        for arch in archs[len(ranking.entries) :]:
            ranking.entries.append(_evaluate(supernet, arch, trainer.videos, trainer))
            write_ranking(run.path, ranking, supernet)
            shown.update(len(ranking.entries), arch.hash, {})
    finally:
        shown.close()


def _evaluated_before(folder: Path, hashes: list[str]) -> list[RankedArchitecture]:
    """Read the first entries of rank.json, without their trainings: the runner knows these."""
    with contextlib.suppress(OSError, KeyError, TypeError, ValueError):  # msgspec's and JSON's errors are ValueErrors
        entries = msgspec.convert(
            json.loads((folder / "rank.json").read_text())["architectures"], list[RankedArchitecture]
        )
        if [entry.hash for entry in entries] == hashes[: len(entries)]:
            return [msgspec.structs.replace(entry, alone=None) for entry in entries]
    return []


def _evaluate(supernet: PartSupernet, arch: Architecture, videos: VideoSet, trainer: Trainer) -> RankedArchitecture:
    ways = [
        supernet.accuracy(arch, videos, trainer.compute, calibrated, trainer.frames) for calibrated in (False, True)
    ]
    params = parameters(arch)
    return RankedArchitecture(arch.hash, macs_at(supernet.space, arch), params, synaptic_flow(arch), *ways)


def _job(supernet: PartSupernet, arch: Architecture, number: int, n: int) -> Job:
    macs = macs_at(supernet.space, arch)
    title = f"architecture {number} of {n} · {arch.hash} · {gflops(macs, digits=4)} GFLOPs"
    return Job("ranked", arch, macs, f"arch-{arch.hash}", title)


def _config(supernet: PartSupernet, archs: list[Architecture], seed: int, trainer: Trainer) -> dict[str, Any]:
    return {
        "space": supernet.searched.space.name,
        "part": supernet.part,
        "search_seed": supernet.searched.settings.seed,
        "architectures": [arch.hash for arch in archs],
        "seed": seed,
        "data": {"name": trainer.videos.name, "fingerprint": trainer.videos.fingerprint},
        "recipe": trainer.recipe.recorded(),
    }


def write_ranking(folder: Path, ranking: Ranking, supernet: PartSupernet) -> None:
    """Bring rank.json, table.csv and plot.png up to date."""
    content = {
        "space": ranking.space,
        "part": ranking.part,
        "data": ranking.data,
        "about": ranking.about,
        "evidence": ranking.evidence,
        "convention": convention(supernet.space.reference),
        "architectures": [msgspec.to_builtins(entry) for entry in ranking.entries],
        "correlations": _plain(ranking.correlations()),
    }
    write_atomic(folder / "rank.json", json.dumps(content, indent=1) + "\n")
    rows = [msgspec.structs.astuple(entry) for entry in ranking.entries]
    write_atomic(folder / "table.csv", csv_text([RankedArchitecture.__struct_fields__, *rows]))
    write_atomic(folder / "plot.png", rank_png(ranking))


def _plain(value: Any) -> Any:
    """Replace nan, which JSON lacks, by None."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def rank_png(ranking: Ranking) -> bytes:
    """Draw accuracy alone against the supernet's, once for each way."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.8), dpi=150, layout="constrained")
    done = [e for e in ranking.entries if e.alone is not None]
    correlations = ranking.correlations()
    for axes, way in zip(figure.subplots(1, 2, sharey=True), WAYS):
        axes.scatter([getattr(e, way) for e in done], [e.alone for e in done], s=30, color="#3b6ea5", alpha=0.8)
        tau = correlations[way]["Kendall's tau-b"]
        figure_text = spoken("Kendall's tau-b", tau["value"], tau["interval"])
        axes.set_title(f"{way}: {figure_text if np.isfinite(tau['value']) else 'too few, or all alike'}", fontsize=8)
        axes.set_xlabel("top-1 with the supernet's weights (%)", fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
        axes.tick_params(labelsize=7)
    figure.axes[0].set_ylabel("top-1 trained from scratch (%)", fontsize=8)
    above = ranking.lines()[: 2 if ranking.evidence else 1]
    text = "\n".join(textwrap.fill(line, 140) for line in above)
    figure.suptitle(text, fontsize=7, color="#5c6370", parse_math=False)  # a name may hold a $
    return png_bytes(figure)
