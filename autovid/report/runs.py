"""The runs of a report, read from their directories: searches, trainings, random baselines and rankings."""

import csv
import json
import shlex
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from autovid.errors import ConfigError, RunError
from autovid.models import Model, load_model
from autovid.run import RunDirectory
from autovid.search import Searched, read_search
from autovid.search.derivation import read_begun
from autovid.studies.rank import RankFile
from autovid.train import as_trained
from autovid.train.evaluate import Evaluation, confusion_file, is_own
from autovid.train.trained import KIND as TRAINING

SEARCH, BASELINE, RANK = "search", "random-baseline", "rank"
KINDS = (SEARCH, TRAINING, RANK)
OWN_PAGES = {"compare": "compare.html", "sweep": "table.md"}  # what these kinds of runs write themselves


class BaselineRow(NamedTuple):
    """An architecture of a random baseline: top-1 in percent, None where its training diverged."""

    hash: str
    kind: str
    gflops: float
    top1: float | None


class Confusion(NamedTuple):
    """A confusion: `wrong` of the `videos` of class `actual` were predicted as class `predicted`."""

    actual: str
    predicted: str
    wrong: int
    videos: int


@dataclass(frozen=True)
class Run:
    """A run directory's content. `records` are those of metrics.jsonl, `history` those of probabilities.jsonl."""

    path: Path
    name: str
    directory: RunDirectory
    records: tuple[dict[str, Any], ...]
    history: tuple[dict[str, Any], ...]
    log: tuple[str, ...]
    model: Model | None = None
    searched: Searched | None = None
    unsaved: Searched | None = None  # of a search without a checkpoint: what it has begun with
    evaluations: tuple[tuple[Path, Evaluation], ...] = ()  # on the val of its own data, of its best checkpoint
    tests: tuple[Evaluation, ...] = ()  # those on its test
    baseline: tuple[BaselineRow, ...] = ()
    ranking: RankFile | None = None
    trainings: tuple["Run", ...] = ()  # inside of a random baseline or a ranking, the first one first

    @property
    def kind(self) -> str:
        """search, train, random-baseline (a search that trains what it scores) or rank."""
        return _kind(self.directory)

    @property
    def config(self) -> dict[str, Any]:
        """The content of config.yaml."""
        return self.directory.config

    @property
    def steps(self) -> int:
        """Finished steps."""
        return int(self.records[-1]["step"]) + 1 if self.records else 0

    @property
    def epochs(self) -> float | None:
        """The length of a training, or of those inside; None for other runs."""
        recipe = self.config.get("recipe") or {}
        return float(recipe["epochs"]) if "epochs" in recipe else None

    @property
    def best(self) -> tuple[Path, Evaluation] | None:
        """The evaluation on val with the most views; of equals one at a short side of its own, which was asked for."""
        return max(self.evaluations, key=lambda pair: (pair[1].views_per_video, "@" in pair[1].views), default=None)

    @property
    def test(self) -> Evaluation | None:
        """The evaluation on test in the views of the best one, or in the most views; None where there is none."""
        views = self.best[1].views if self.best else ""
        return max(self.tests, key=lambda one: (one.views == views, one.views_per_video), default=None)

    @property
    def data(self) -> str:
        """The name of its data set."""
        data = self.config.get("data", "")
        return str(data["name"]) if isinstance(data, dict) else str(data)

    @cached_property
    def seconds(self) -> float:
        """The duration of its steps, or of those of all its trainings.

        Breaks between two starts count as a step of the usual length.
        """
        if self.trainings:
            return sum(run.seconds for run in self.trainings)
        pairs = [(a, b) for a, b in zip(self.records, self.records[1:]) if "time" in a and "time" in b]
        gaps = [b["time"] - a["time"] for a, b in pairs]
        if not gaps:
            return 0.0
        usual = float(statistics.median(gaps))
        starts = {int(line.split(" step ")[1].split()[0]) for line in self.log if line.endswith(": starting")}
        return usual + sum(usual if b["step"] in starts else gap for (_, b), gap in zip(pairs, gaps))

    @property
    def begun(self) -> str:
        """The first date and time of its logs, by the clock of the machine where it ran; empty where there is none."""
        times = [line[:19] for run in (self, *self.trainings) for line in run.log[:1] if line[:4].isdecimal()]
        return min(times, default="")

    @property
    def command(self) -> str:
        """The command that began it, which its first training knows as well; empty where no log says."""
        if self.trainings:
            return self.trainings[0].command
        commands = [line.partition(" goes on with: ")[2] for line in self.log if " goes on with: " in line]
        arguments = shlex.split(commands[0]) if commands else []
        return shlex.join(argument for argument in arguments if argument != "--resume")

    def confusions(self) -> list[Confusion]:
        """List the confusions of the best evaluation, the most frequent first."""
        file = confusion_file(self.best[0]) if self.best else None
        if file is None or not file.is_file():
            return []
        with file.open(encoding="utf-8", newline="") as lines:
            head, *rows = list(csv.reader(lines))
        confusions = [
            Confusion(row[0], predicted, int(count), sum(map(int, row[1:])))
            for row in rows
            for predicted, count in zip(head[1:], row[1:])
            if predicted != row[0] and int(count)
        ]
        return sorted(confusions, key=lambda one: (-one.wrong / one.videos, -one.wrong, one.actual, one.predicted))


def read_runs(paths: Sequence[Path]) -> list[Run]:
    """Read runs and tell those of one name apart. Raises RunError, ConfigError."""
    runs = [read_run(path) for path in paths]
    if len({run.path.resolve() for run in runs}) < len(runs):
        raise ConfigError("a run is given twice; give each once")
    names = [run.name for run in runs]
    return [
        run if names.count(run.name) == 1 else replace(run, name="/".join(run.path.resolve().parts[-2:]))
        for run in runs
    ]


def own_page(path: Path) -> Path | None:
    """Return the page or the table that a comparison or a sweep has written; None for other runs, or before it has."""
    directory = RunDirectory.open(path)
    file = path / OWN_PAGES.get(directory.kind, "")
    return file if directory.kind in OWN_PAGES and file.is_file() else None


def report_of_trainings(path: Path) -> str:
    """Return the command for a report of all trainings in a comparison or a sweep."""
    return f"autovid report {shlex.quote(str(path))}/*=*"


def read_run(path: Path) -> Run:
    """Read a run directory, also of a run that is not finished. Raises RunError, ConfigError."""
    directory = RunDirectory.open(path)
    if directory.kind in OWN_PAGES:
        raise ConfigError(
            f"{path} is a run of 'autovid {directory.kind}', whose own page is {path / OWN_PAGES[directory.kind]}; "
            f"for a report of its trainings: {report_of_trainings(path)}"
        )
    if directory.kind not in KINDS:
        raise ConfigError(
            f"{path} is a run of 'autovid {directory.kind}'; a report is made of searches, trainings, random "
            "baselines and rankings"
        )
    kind = _kind(directory)
    begun = kind == SEARCH and not directory.steps()
    searched = read_search(path) if kind == SEARCH and not begun else None
    model: Model | None = None
    if kind != BASELINE and (path / "architecture.yaml").is_file():
        # of a training at its own clips, else at the space's reference input
        model = as_trained(path) if directory.kind == TRAINING else load_model(path / "architecture.yaml")
    run, evaluations = _read_logs(directory, path.resolve().name), _evaluations(directory)
    return replace(
        run,
        path=path,
        records=() if kind == BASELINE else run.records,  # its trainings have their own
        model=model,
        searched=searched,
        unsaved=read_begun(path) if begun and (path / "space.yaml").is_file() else None,
        evaluations=tuple(pair for pair in evaluations if pair[1].split == "val"),
        tests=tuple(one for _, one in evaluations if one.split == "test"),
        baseline=tuple(_baseline(path / "table.csv")) if kind == BASELINE else (),
        ranking=_ranking(path / "rank.json") if directory.kind == RANK else None,
        trainings=_trainings(path) if kind in (BASELINE, RANK) else (),
    )


def _kind(directory: RunDirectory) -> str:
    settings = directory.config.get("settings", {})
    by_training = directory.kind == SEARCH and settings.get("score") == "training"
    return BASELINE if by_training else directory.kind


def _read_logs(directory: RunDirectory, name: str) -> Run:
    records, history = (_records(directory.path / file) for file in ("metrics.jsonl", "probabilities.jsonl"))
    return Run(directory.path, name, directory, records, history, tuple(_lines(directory.path / "log.txt")))


def _trainings(path: Path) -> tuple[Run, ...]:
    """Read the logs of the runs inside, no more."""
    directories = [RunDirectory.open(file.parent) for file in path.glob("*/config.yaml")]
    runs = [_read_logs(run, run.path.name) for run in directories if (run.path / "log.txt").is_file()]
    return tuple(sorted(runs, key=lambda run: (run.log[0], run.name)))


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").split("\n") if path.is_file() else []


def _records(path: Path) -> tuple[dict[str, Any], ...]:
    """Read whole records: the last line may still be incomplete."""
    records = []
    for line in _lines(path):
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and "step" in record:
            records.append(record)
    return tuple(records)


def _evaluations(run: RunDirectory) -> list[tuple[Path, Evaluation]]:
    pairs = [(file, _decoded(file, Evaluation)) for file in sorted(run.path.glob("evaluation-*.json"))]
    return [(file, one) for file, one in pairs if is_own(run, one)]


def _ranking(file: Path) -> RankFile | None:
    return _decoded(file, RankFile) if file.is_file() else None


def _decoded(file: Path, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(file.read_bytes(), type=kind)
    except msgspec.MsgspecError as error:
        raise RunError(f"{file} cannot be read: {error}") from error


def _baseline(path: Path) -> list[BaselineRow]:
    rows = csv.DictReader(_lines(path))
    return [
        BaselineRow(row["architecture"], row["kind"], float(row["gflops"]), float(row["top1"]) if row["top1"] else None)
        for row in rows
    ]
