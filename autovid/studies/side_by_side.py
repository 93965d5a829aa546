"""Networks of any origin, trained alike: a sweep over networks, with the interval of each accuracy, and latency.

DIR/
  config.yaml  log.txt  trials.json  table.csv  table.md   as those of a sweep (autovid/studies/sweep.py)
  standings.json  standings.csv
  network=NAME/   a training's run directory for each network
"""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from autovid.data.lists import csv_text
from autovid.kernels.compute import Compute
from autovid.models import Model
from autovid.run import Progress, write_atomic
from autovid.studies.bench import Bench, BenchSettings
from autovid.studies.measured import open_measured
from autovid.studies.sweep import SweepResult, SweepTraining, read_sweep, sweep
from autovid.train.evaluate import Evaluation, read_evaluation

Z = 1.959964  # of the normal distribution: 95 % lie within as many standard deviations
REPEATS = 50  # of a latency


class Contender(NamedTuple):
    """A network to be compared: its name, where it comes from ("hand-designed", "searched", ...), and itself."""

    name: str
    kind: str
    model: Model


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a network. Accuracies in percent, `low` to `high` the 95 % interval of top-1; times in ms."""

    name: str
    kind: str
    hash: str
    top1: float | None = None
    low: float | None = None
    high: float | None = None
    top5: float | None = None
    videos: int = 0
    gflops: float | None = None
    params: int | None = None
    frames: int | None = None
    crop: int | None = None
    latency_q1: float | None = None
    latency: float | None = None
    latency_q3: float | None = None
    failed: str = ""
    validations: int = 0  # on these very videos, of which the best has chosen the checkpoint


def wilson(top1: float, videos: int) -> tuple[float, float]:
    """Return the 95 % interval of an accuracy, all in percent, by Wilson's score.

    Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
    """
    rate, z2 = top1 / 100, Z * Z / videos
    middle = (rate + z2 / 2) / (1 + z2)
    half = math.sqrt(rate * (1 - rate) * z2 + z2 * z2 / 4) / (1 + z2)
    return max(0.0, 100 * (middle - half)), min(100.0, 100 * (middle + half))


def ranked(standings: Sequence[Standing]) -> list[Standing]:
    """Return the best first, and those without accuracy last."""
    return sorted(standings, key=lambda one: -1.0 if one.top1 is None else one.top1, reverse=True)


def verdict(standings: Sequence[Standing]) -> str:
    """Say which network is best, or that some are equal, and which ones cannot be told from it."""
    best, *others = ranked(standings)
    if best.top1 is None or best.low is None:
        return "No network is trained yet."
    first = [one.name for one in standings if one.top1 == best.top1]
    who = f"{best.name} comes first" if others else best.name
    if len(first) > 1:
        who = f"{', '.join(first[:-1])} and {first[-1]} are equal"
    text = f"{who}: top-1 {best.top1:.1f} % ({best.low:.1f} to {best.high:.1f}) of {best.videos} videos"
    near = [one.name for one in others if one.high is not None and one.high >= best.low and one.name not in first]
    if near:
        it, its = ("it", "its own") if len(first) == 1 else ("them", "theirs")
        text += f"; so few videos do not tell {it} from {', '.join(near)}, whose intervals overlap with {its}"
    return f"{text}."


def compare(
    contenders: Sequence[Contender],
    trainings: Sequence[SweepTraining],
    out: Path,
    *,
    resume: bool = False,
    report: Callable[[list[Standing]], None] = lambda standings: None,
) -> list[Standing]:
    """Train one after the other, measure latency, and return what each has come to; `report` is told in between.

    The standings in `out` are brought up to date each time, and finished trainings are not repeated. One that diverges
    has no accuracy, and stops nothing. Raises what `sweep` and `train_model` raise.
    """

    def say(_: str) -> None:
        report(_write(out, _standings(contenders, trainings, out)))

    command = trainings[0].resume_command
    sweep(trainings, out, _one_after_the_other, resume=resume, kind="compare", say=say, resume_command=command)
    standings = _with_latency(_standings(contenders, trainings, out), trainings, out)
    report(_write(out, standings))
    return standings


def _one_after_the_other(trainings: Sequence[SweepTraining], folder: Path) -> Iterator[tuple[int, SweepResult]]:
    for number, training in enumerate(trainings):
        result = training.run(folder, lambda epoch, top1: None)
        if isinstance(result, str):
            yield number, SweepResult(training.settings, failed=result)
        else:
            costs = (result.top1, result.top5, result.params, result.macs_per_view)
            yield number, SweepResult(training.settings, *costs)


def _standings(contenders: Sequence[Contender], trainings: Sequence[SweepTraining], out: Path) -> list[Standing]:
    """Read what each has come to so far, in the order in which they were given."""
    failed = {one.settings: one.failed for one in read_sweep(out)}
    standings = []
    for contender, training in zip(contenders, trainings):
        standing = Standing(name=contender.name, kind=contender.kind, hash=contender.model.hash)
        evaluation = read_evaluation(out / training.name, "center")
        if evaluation is not None:
            standing = _evaluated(standing, evaluation)
        standings.append(msgspec.structs.replace(standing, failed=failed.get(training.settings, "")))
    return standings


def _evaluated(standing: Standing, one: Evaluation) -> Standing:
    low, high = wilson(one.top1, one.decoded)
    return msgspec.structs.replace(
        standing, hash=one.architecture, top1=one.top1, low=low, high=high, top5=one.top5, videos=one.decoded,
        gflops=one.gflops_per_view, params=one.params, frames=one.frames, crop=one.crop,
        validations=one.validations,
    )  # fmt: skip


def _with_latency(standings: Sequence[Standing], trainings: Sequence[SweepTraining], out: Path) -> list[Standing]:
    """Measure the latency of one clip of every network that was trained, at its own clips, in turns, in fp32."""
    runs = {training.name: out / training.name for training in trainings if (out / training.name).is_dir()}
    compute = Compute(trainings[0].device, "fp32")
    networks = [open_measured(str(run), compute) for run in runs.values()]
    bench = Bench(networks, BenchSettings(repeats=REPEATS, most=0))
    number = "1 network" if len(networks) == 1 else f"{len(networks)} networks"
    bench.measure(Progress(f"latency of {number} on {compute.device}"))
    rows = dict(zip(runs, bench.rows))
    return [
        msgspec.structs.replace(one, latency_q1=row.latency_q1, latency=row.latency_median, latency_q3=row.latency_q3)
        if (row := rows.get(training.name)) else one
        for one, training in zip(standings, trainings)
    ]  # fmt: skip


def _write(out: Path, standings: list[Standing]) -> list[Standing]:
    """Write standings.json and standings.csv."""
    write_atomic(out / "standings.json", msgspec.json.format(msgspec.json.encode(standings)).decode() + "\n")
    rows = [msgspec.structs.astuple(one) for one in standings]
    write_atomic(out / "standings.csv", csv_text([Standing.__struct_fields__, *rows]))
    return standings
