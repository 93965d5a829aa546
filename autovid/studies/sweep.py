"""A sweep: one training with every combination of some values, and the table of their results.

DIR/
  config.yaml  log.txt  trials.json  table.csv  table.md
  KEY=VALUE,.../   a training's run directory for each combination
"""

import itertools
import re
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import msgspec

from autovid.data import VideoSet
from autovid.data.frame_cache import CacheSize, choose_cache
from autovid.data.lists import csv_text
from autovid.errors import ConfigError, DivergedError
from autovid.kernels.compute import Compute
from autovid.models import Model
from autovid.run import Progress, RunDirectory, write_atomic
from autovid.train.evaluate import Evaluation
from autovid.train.recipe import Recipe
from autovid.train.train import train_config, train_model

MOST = 10_000  # trainings of one sweep
Report = Callable[[int, float], None]  # (epoch, top-1 in percent on val)


@dataclass(frozen=True)
class SweepTraining:
    """One combination: its settings, as in --set, and all arguments of its training."""

    settings: tuple[str, ...]
    model: Model
    recipe: Recipe
    videos: VideoSet
    source: str
    device: str = "auto"
    workers: int = 0
    weights: Path | None = None
    new_head: bool = False
    views: tuple[str, ...] = ()
    cache: CacheSize = "off"
    resume_command: str = ""

    @property
    def name(self) -> str:
        """The name of its run directory."""
        return re.sub(r"[^\w=.,+-]", "_", ",".join(self.settings))[:120]

    def run(self, folder: Path, report: Report) -> Evaluation | str:
        """Begin it in `folder`, go on with it or take its result; return the message where it diverged."""
        out = folder / self.name
        try:
            with choose_cache(self.cache, self.videos.videos, self.videos.root) or nullcontext() as cache:
                return train_model(
                    self.model,
                    self.videos,
                    self.recipe,
                    out,
                    source=self.source,
                    compute=Compute(self.device, self.recipe.precision),
                    workers=self.workers,
                    cache=cache,
                    weights=self.weights,
                    new_head=self.new_head,
                    views=self.views,
                    resume=out.is_dir(),
                    progress=_Epochs(self.name, self.recipe, report),
                    resume_command=self.resume_command,
                )
        except DivergedError as error:
            return str(error)


class SweepResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """The result of a combination. Accuracies in percent; `stopped_at`: epochs, where halving ended it."""

    settings: tuple[str, ...]
    top1: float | None = None
    top5: float | None = None
    params: int | None = None
    macs: int | None = None
    retries: int = 0
    stopped_at: int = 0
    failed: str = ""

    def verdict(self) -> str:
        """Write "41.67", or the reason why there is none."""
        if self.top1 is not None:
            return f"{self.top1:.2f}"
        return f"stopped after {self.stopped_at} epochs" if self.stopped_at else "failed"


Runner = Callable[[Sequence[SweepTraining], Path], Iterator[tuple[int, SweepResult]]]


def combinations(over: Sequence[str]) -> list[tuple[str, ...]]:
    """Return every combination of `lr=0.1,0.2` and `seed=0..3`, each as key=value pairs. Raises ConfigError."""
    choices = [_values(text) for text in over]
    keys = [pairs[0].split("=")[0].removeprefix("recipe.") for pairs in choices]
    if double := next((key for key in keys if keys.count(key) > 1), None):
        raise ConfigError(f"--over {double} is given twice; give all of its values at once: {double}=A,B,C")
    products = list(itertools.islice(itertools.product(*choices), MOST + 1))
    if len(products) > MOST:
        raise ConfigError(f"--over asks for more than {MOST} trainings")
    return products


def _values(text: str) -> list[str]:
    key, equals, values = text.partition("=")
    if not (key and equals and values):
        raise ConfigError(f"--over {text}: write KEY=A,B,C or KEY=FIRST..LAST")
    if span := re.fullmatch(r"(-?\d+)\.\.(-?\d+)", values):
        first, last = map(int, span.groups())
        if not first <= last < first + MOST:
            raise ConfigError(f"--over {text}: the first number is to be the smaller, and {MOST} values are the most")
        pieces = [str(value) for value in range(first, last + 1)]
    else:
        pieces = re.split(r",(?![^\[{]*[\]}])", values)  # no comma inside of a list
    if "" in pieces or len(set(pieces)) < len(pieces):
        raise ConfigError(f"--over {text}: a value is empty, or given twice")
    return [f"{key}={piece}" for piece in pieces]


def sweep(
    trainings: Sequence[SweepTraining],
    out: Path,
    runner: Runner,
    *,
    resume: bool = False,
    say: Callable[[str], None] = print,
    kind: str = "sweep",
    resume_command: str = "",
) -> list[SweepResult]:
    """Run all trainings and keep the tables in `out` up to date; finished and stopped ones are not repeated.

    Raises RunError where `out` was made by another sweep, ConfigError for two combinations that are one.
    """
    names = [training.name for training in trainings]
    if len({name.lower() for name in names}) < len(names):
        raise ConfigError("two combinations of --over would have one directory; write their values otherwise")
    with RunDirectory.create_or_resume(out, _config(trainings), kind=kind, resume=resume) as run:
        if resume_command:
            run.log(f"goes on with: {resume_command}")
        known = {outcome.settings: outcome for outcome in read_sweep(run.path) if not outcome.failed}
        left = [training for training in trainings if training.settings not in known]
        for number, outcome in runner(left, run.path.resolve()):
            known[left[number].settings] = outcome
            run.log(f"{left[number].name}: {outcome.failed or outcome.verdict()}")
            results = [known[training.settings] for training in trainings if training.settings in known]
            write_tables(run.path, results)
            say(f"{len(results)} of {len(trainings)} done · {' '.join(outcome.settings)}: top-1 {outcome.verdict()}")
    return [known[training.settings] for training in trainings if training.settings in known]


def _config(trainings: Sequence[SweepTraining]) -> dict[str, object]:
    return {
        training.name: train_config(
            training.model, training.videos, training.recipe, training.weights, training.new_head
        )
        for training in trainings
    }


def read_sweep(path: Path) -> list[SweepResult]:
    """Read the results of the sweep in `path` so far."""
    try:
        return msgspec.json.decode((path / "trials.json").read_bytes(), type=list[SweepResult])
    except FileNotFoundError:
        return []


def write_tables(path: Path, outcomes: Sequence[SweepResult]) -> None:
    """Bring trials.json, table.csv and table.md up to date."""
    write_atomic(path / "trials.json", msgspec.json.format(msgspec.json.encode(outcomes)).decode() + "\n")
    keys = [pair.split("=")[0] for pair in outcomes[0].settings]
    columns = ["top1", "top5", "params", "macs_per_view", "retries", "stopped_at", "failed"]
    rows: list[Sequence[object]] = [[*keys, *columns]]
    for one in outcomes:
        values = [pair.split("=", 1)[1] for pair in one.settings]
        rows.append([*values, *msgspec.structs.astuple(one)[1:]])
    write_atomic(path / "table.csv", csv_text(rows))
    head, *body = table(outcomes)
    lines = ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *body)]
    write_atomic(path / "table.md", "\n".join([*lines, "", *seeds(outcomes)]).rstrip() + "\n")


def table(outcomes: Sequence[SweepResult]) -> list[list[str]]:
    """Return the header, then the rows, the best first."""
    ranked = sorted(outcomes, key=lambda one: -1.0 if one.top1 is None else one.top1, reverse=True)
    head = [*(pair.split("=")[0] for pair in outcomes[0].settings), "top-1 (%)", "top-5 (%)", "params (M)", "retries"]
    return [head] + [
        [
            *(pair.split("=", 1)[1] for pair in one.settings),
            one.verdict(),
            "-" if one.top5 is None else f"{one.top5:.2f}",
            "-" if one.params is None else f"{one.params / 1e6:.2f}",
            str(one.retries),
        ]
        for one in ranked
    ]


def seeds(outcomes: Sequence[SweepResult]) -> list[str]:
    """Return a line for each combination that was trained with several seeds: mean and standard deviation of top-1."""
    groups: dict[tuple[str, ...], list[float]] = {}
    for one in outcomes:
        rest = tuple(pair for pair in one.settings if pair.split("=")[0] not in ("seed", "recipe.seed"))
        if one.top1 is not None and len(rest) < len(one.settings):
            groups.setdefault(rest, []).append(one.top1)
    return [
        f"{' '.join(rest) or 'all'}: top-1 {statistics.mean(top1):.2f} % (s.d. {statistics.stdev(top1):.2f}, "
        f"{len(top1)} seeds)"
        for rest, top1 in groups.items()
        if len(top1) > 1
    ]


class _Epochs(Progress):
    """A progress display that also reports each validation, with the epoch after which it was."""

    def __init__(self, title: str, recipe: Recipe, report: Report) -> None:
        super().__init__(title)
        self._recipe, self._report = recipe, report

    def update(self, done: int, status: str, metrics: dict[str, float]) -> None:
        super().update(done, status, metrics)
        by = ("val_class_mean", "val_top1", "val_map")  # with --balance; else; where videos may have several classes
        score = next((metrics[name] for name in by if name in metrics), None)
        if score is not None:
            self._report(round(done * self._recipe.epochs / self._total), score)
