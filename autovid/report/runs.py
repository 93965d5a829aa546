"""What a report reads of a run: a search, a training, a random baseline, or a ranking."""

import csv
import json
import shlex
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from autovid.errors import ConfigError, RunError
from autovid.models import Model, load_model
from autovid.run import RunDirectory
from autovid.search import Searched, read_search
from autovid.train import as_trained
from autovid.train.evaluate import Evaluation, confusion_file
from autovid.train.trained import KIND as TRAINING

SEARCH, BASELINE, RANK = "search", "random-baseline", "rank"
KINDS = (SEARCH, TRAINING, BASELINE, RANK)


class Candidate(NamedTuple):
    """An architecture of a random baseline: top-1 in percent, None where its training diverged."""

    hash: str
    kind: str
    gflops: float
    top1: float | None


class Ranked(msgspec.Struct):
    """An architecture of a ranking: top-1 in percent in the supernet, and trained from scratch, None if not yet."""

    hash: str
    supernet: float
    recalibrated: float
    alone: float | None = None


class Correlation(msgspec.Struct):
    """None where there are too few architectures for it; the interval holds it with 95 % probability."""

    value: float | None
    interval: tuple[float | None, float | None]


class Ranking(msgspec.Struct):
    """rank.json: does the supernet rank architectures as trainings do; correlations by way and statistic."""

    space: str
    architectures: list[Ranked]
    correlations: dict[str, dict[str, Correlation]]


class Confusion(NamedTuple):
    """`wrong` of the `videos` of class `actual` were taken for `taken`."""

    actual: str
    taken: str
    wrong: int
    videos: int


@dataclass(frozen=True)
class Run:
    """A run as its directory has it. `records` are those of metrics.jsonl, `history` those of probabilities.jsonl."""

    path: Path
    name: str
    directory: RunDirectory
    records: tuple[dict[str, Any], ...]
    history: tuple[dict[str, Any], ...]
    log: tuple[str, ...]
    model: Model | None = None
    searched: Searched | None = None
    evaluations: tuple[tuple[Path, Evaluation], ...] = ()
    candidates: tuple[Candidate, ...] = field(default=())
    ranking: Ranking | None = None
    trainings: tuple["Run", ...] = ()  # inside of a random baseline or a ranking, the first one first

    @property
    def kind(self) -> str:
        """search, train, random-baseline or rank."""
        return self.directory.kind

    @property
    def config(self) -> dict[str, Any]:
        """What config.yaml holds."""
        return self.directory.config

    @property
    def best(self) -> tuple[Path, Evaluation] | None:
        """The evaluation on val with the most views; of equals one at a short side of its own, which was asked for."""
        return max(self.evaluations, key=lambda found: (found[1].views_per_video, "@" in found[1].views), default=None)

    @property
    def data(self) -> str:
        """The name of its data set."""
        given = self.config.get("data", "")
        return str(given["name"]) if isinstance(given, dict) else str(given)

    @cached_property
    def seconds(self) -> float:
        """How long its steps took, or those of all its trainings.

        Breaks between two starts count as a step of the usual length.
        """
        if self.trainings:
            return sum(one.seconds for one in self.trainings)
        pairs = list(zip(self.records, self.records[1:]))
        gaps = [b["time"] - a["time"] for a, b in pairs if "time" in a and "time" in b]
        if not gaps:
            return 0.0
        usual = float(statistics.median(gaps))
        starts = {int(line.split(" step ")[1].split()[0]) for line in self.log if line.endswith(": starting")}
        broken = [b["step"] in starts for a, b in pairs if "time" in a and "time" in b]
        return usual + sum(usual if stop else gap for gap, stop in zip(gaps, broken))

    @property
    def begun(self) -> str:
        """The first date and time of its logs, by the clock of the machine where it ran; empty where there is none."""
        times = [line[:19] for one in (self, *self.trainings) for line in one.log[:1] if line[:4].isdecimal()]
        return min(times, default="")

    @property
    def command(self) -> str:
        """What was typed to begin it, which its first training knows as well; empty where no log says."""
        if self.trainings:
            return self.trainings[0].command
        lines = [line.partition(" goes on with: ")[2] for line in self.log if " goes on with: " in line]
        words = shlex.split(lines[0]) if lines else []
        return shlex.join(word for word in words if word != "--resume")

    def confusions(self) -> list[Confusion]:
        """What is taken for what, the most frequent first, of the best evaluation."""
        file = confusion_file(self.best[0]) if self.best else None
        if file is None or not file.is_file():
            return []
        with file.open(encoding="utf-8", newline="") as lines:
            head, *rows = list(csv.reader(lines))
        found = [
            Confusion(row[0], taken, int(count), sum(map(int, row[1:])))
            for row in rows
            for taken, count in zip(head[1:], row[1:])
            if taken != row[0] and int(count)
        ]
        return sorted(found, key=lambda one: (-one.wrong / one.videos, -one.wrong, one.actual, one.taken))


def read_run(path: Path) -> Run:
    """Reads a run directory, also of a run that is not finished. Raises RunError, ConfigError."""
    directory = RunDirectory.open(path)
    if directory.kind not in KINDS:
        raise ConfigError(
            f"{path} is a run of 'autovid {directory.kind}'; a report is made of searches, trainings, random "
            "baselines and rankings"
        )
    try:
        searched = read_search(path) if directory.kind == SEARCH else None
    except RunError:
        if directory.steps():
            raise
        searched = None  # it has only begun
    return Run(
        path=path,
        name=path.resolve().name,
        directory=directory,
        records=tuple(_records(path / "metrics.jsonl")),
        history=tuple(_records(path / "probabilities.jsonl")),
        log=tuple(_lines(path / "log.txt")),
        model=_model(directory, path / "architecture.yaml"),
        searched=searched,
        evaluations=tuple(_evaluations(path)),
        candidates=tuple(_candidates(path / "table.csv")) if directory.kind == BASELINE else (),
        ranking=_ranking(path / "rank.json") if directory.kind == RANK else None,
        trainings=_trainings(path) if directory.kind in (BASELINE, RANK) else (),
    )


def _trainings(path: Path) -> tuple[Run, ...]:
    """What their logs say, no more."""
    there = [RunDirectory.open(file.parent) for file in path.glob("*/config.yaml")]
    found = [
        Run(run.path, run.path.name, run, tuple(_records(run.path / "metrics.jsonl")), (), tuple(_lines(log)))
        for run in there
        if (log := run.path / "log.txt").is_file()
    ]
    return tuple(sorted(found, key=lambda run: (run.log[0], run.name)))


def _model(run: RunDirectory, file: Path) -> Model | None:
    """Of a training at its own clips, of a search at the reference input of its space."""
    if not file.is_file():
        return None
    return as_trained(run.path) if run.kind == TRAINING else load_model(file)


def read_runs(paths: Sequence[Path]) -> list[Run]:
    """Runs under names of their own."""
    runs = [read_run(path) for path in paths]
    if len({run.path.resolve() for run in runs}) < len(runs):
        raise ConfigError("a run is given twice; give each once")
    names = [run.name for run in runs]
    return [run if names.count(run.name) == 1 else _renamed(run) for run in runs]


def _renamed(run: Run) -> Run:
    values = {name: getattr(run, name) for name in Run.__dataclass_fields__}
    return Run(**{**values, "name": "/".join(run.path.resolve().parts[-2:])})


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").split("\n") if path.is_file() else []


def _records(path: Path) -> list[dict[str, Any]]:
    """Whole records: the last one may just be being written."""
    found = []
    for line in _lines(path):
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and "step" in record:
            found.append(record)
    return found


def _evaluations(path: Path) -> list[tuple[Path, Evaluation]]:
    found = []
    for file in sorted(path.glob("evaluation-*.json")):
        try:
            one = msgspec.json.decode(file.read_bytes(), type=Evaluation)
        except msgspec.MsgspecError as error:
            raise RunError(f"{file} cannot be read: {error}") from error
        if one.split == "val":
            found.append((file, one))
    return found


def _ranking(path: Path) -> Ranking | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Ranking) if path.is_file() else None
    except msgspec.MsgspecError as error:
        raise RunError(f"{path} cannot be read: {error}") from error


def _candidates(path: Path) -> list[Candidate]:
    rows = list(csv.DictReader(_lines(path)))
    return [
        Candidate(row["architecture"], row["kind"], float(row["gflops"]), float(row["top1"]) if row["top1"] else None)
        for row in rows
    ]
