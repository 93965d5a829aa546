"""Scores from a table: architectures of a space that were all trained before, so that a strategy runs in seconds.

As NAS-Bench-101 does for images (Ying et al., 2019, arXiv 1902.09635). A table is a JSON file; those of autovid's own
benchmarks lie in `tables/`. A table may lack architectures; what asks for one of them gets an error.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from autovid.errors import ConfigError
from autovid.fileio import digest
from autovid.run import RunDirectory, run_task
from autovid.search import Constraint
from autovid.search.constraints import final_constraints
from autovid.search.derivation import BY_TABLE, Searched, parameters
from autovid.search.problem import Choices, check_enough, whole_problem
from autovid.search.run import SearchResult, check_space, finish, keep_inputs, search_config
from autovid.search.settings import PartSettings, SearchSettings
from autovid.search.strategy import TABLE, Scores, strategy_settings, takes
from autovid.search.task import SearchTask
from autovid.space import Architecture, SearchSpace, load_space
from autovid.space.schema import JOINT, Value
from autovid.studies.table_file import Milliseconds, TableFile, TrainedArchitecture, read_table

TABLES = Path(__file__).with_name("tables")
MOST = 20_000  # architectures that are looked up before a search
ROUNDS = 60  # of asking, for a strategy that does not say how many


@dataclass(frozen=True)
class TableEntry:
    """All that a table knows about an architecture. Lists have one figure for each seed, in one order.

    Attributes:
        accuracy: share of the clips of val that are classified correctly, 0 to 1.
        loss: mean cross-entropy on val, in nats.
        correct: number of clips of val that are classified correctly.
        macs: multiply-accumulates of one clip at the space's reference input.
        params: number of parameters with the reference number of classes.
        latency: milliseconds of one clip; None where the table has no latencies. `TableFile.latency` says how they
            were measured.
    """

    accuracy: list[float]
    loss: list[float]
    correct: list[int]
    macs: int
    params: int
    latency: Milliseconds | None


class Rank(NamedTuple):
    """The place of an architecture among `among` of a table: 1 is best; equal ones have the same place."""

    by_loss: int
    by_accuracy: int
    among: int


class TableEvaluator:
    """Looks up what trained architectures have reached and cost; as scores, the means over their seeds."""

    def __init__(self, file: TableFile, path: Path) -> None:
        self.file, self.path = file, path
        self._rows = {_key(one.choices): one for one in file.architectures}

    @classmethod
    def read(cls, path: Path) -> "TableEvaluator":
        """Read a table. Raises ConfigError where the file is missing or not a table."""
        return cls(read_table(path), path)

    def score(self, space: SearchSpace, choices: Choices, split: str = "val", clips: int | None = None) -> Scores:
        """Look up architectures of `space`, choices (K, D). Raises ConfigError for one that the table lacks."""
        rows = [self._row(space.architecture(row)) for row in choices]
        losses = [np.array(one.loss) for one in rows]
        return Scores(
            -np.array([loss.mean() for loss in losses]),
            np.array([_error(loss) for loss in losses]),
            np.array([round(float(np.mean(one.correct))) for one in rows], np.int64),
            self.file.clips,
            self.file.chance,
        )

    def look_up(self, arch: Architecture) -> TableEntry:
        """Return what an architecture has reached with each seed, its MACs, its parameters and its latency.

        Raises ConfigError for one that the table lacks.
        """
        row = self._row(arch)
        return TableEntry(
            [correct / self.file.clips for correct in row.correct],
            row.loss,
            row.correct,
            arch.macs() if row.macs is None else row.macs,
            parameters(arch) if row.params is None else row.params,
            row.latency,
        )

    def rank(self, space: SearchSpace, arch: Architecture, constraints: Sequence[Constraint] = ()) -> Rank:
        """Return the place of an architecture among those of the table that lie inside the constraints, by means.

        Raises ConfigError for one that the table lacks.
        """
        own, others = self._row(arch), self._inside(space, constraints)
        return Rank(
            1 + sum(bool(np.mean(one.loss) < np.mean(own.loss)) for one in others),
            1 + sum(bool(np.mean(one.correct) > np.mean(own.correct)) for one in others),
            len(others),
        )

    def describe(
        self, space: SearchSpace, arch: Architecture, constraints: Sequence[Constraint] = ()
    ) -> dict[str, str]:
        """Say what the table knows about an architecture, in sentences by the keys of `BY_TABLE`.

        Of one that the table lacks, only that it does.
        """
        if _key(arch.choices) not in self._rows:
            return {BY_TABLE[0]: f"not in the table ({self.coverage()})"}
        entry, rank = self.look_up(arch), self.rank(space, arch, constraints)
        percent = ", ".join(f"{100 * one:.1f}" for one in entry.accuracy)
        loss = ", ".join(f"{one:.3f}" for one in entry.loss)
        results = (
            f"trained alone, by the table: {100 * np.mean(entry.accuracy):.1f} % of {self.file.clips:,} clips correct "
            f"(each seed: {percent}), loss {np.mean(entry.loss):.3f} nats (each seed: {loss}; chance: "
            f"{self.file.chance:.3f})"
        )
        costs = f"{entry.macs / 1e6:.4g} million MACs, {entry.params:,} parameters"
        if entry.latency is not None:
            how = f" ({self.file.latency.about()})" if self.file.latency is not None else ""
            costs += f", {entry.latency.median:.3g} ms a clip{how}"
        inside = {0: "", 1: " inside the range"}.get(len(constraints), " inside the ranges")
        place = (
            f"{ordinal(rank.by_loss)} of the table's {rank.among}{inside} by loss, {ordinal(rank.by_accuracy)} by "
            "accuracy"
        )
        return dict(zip(BY_TABLE, (results, costs, place)))

    def _inside(self, space: SearchSpace, constraints: Sequence[Constraint]) -> list[TrainedArchitecture]:
        """Return the architectures of the table that belong to a space and lie inside the constraints."""
        known = space.candidates
        archs = [
            one
            for one in self.file.architectures
            if one.choices.keys() == known.keys() and all(value in known[name] for name, value in one.choices.items())
        ]
        numbers = [[values.index(one.choices[name]) for name, values in known.items()] for one in archs]
        rows = np.array(numbers, np.int64).reshape(-1, len(known))
        inside = whole_problem(space, final_constraints(constraints, space)).inside(rows)
        return [one for one, is_inside in zip(archs, inside) if is_inside]

    def _row(self, arch: Architecture) -> TrainedArchitecture:
        """Return the row of an architecture. Raises ConfigError for one that the table lacks."""
        try:
            return self._rows[_key(arch.choices)]
        except KeyError:
            raise ConfigError(
                f"{self.path}: architecture {arch.hash} of space {arch.space} is not in the table ({self.coverage()})"
            ) from None

    def check_covers(self, space: SearchSpace, constraints: Sequence[Constraint]) -> None:
        """Raise ConfigError where the table lacks an architecture that lies inside the constraints.

        A space of more than `MOST` architectures is not looked through: the first missing one is an error then.
        """
        if space.size > MOST:
            return
        rows = np.stack(np.unravel_index(np.arange(space.size), space.sizes), axis=1)
        rows = rows[whole_problem(space, final_constraints(constraints, space)).inside(rows)]
        missing = sum(_key(space.architecture(row).choices) not in self._rows for row in rows)
        if missing:
            where = "the ranges that are asked for" if constraints else f"the space {space.name}: give a range"
            raise ConfigError(
                f"{self.path} lacks {missing} of {len(rows)} architectures of {where} ({self.coverage()})"
            )

    def coverage(self) -> str:
        """Say how much of the table is there: "5 of 256 architectures, 10 of 576 trainings; ..."."""
        trained, trainings = len(self.file.architectures), sum(len(one.loss) for one in self.file.architectures)
        if not self.file.planned:
            return f"{trained} architectures, {trainings} trainings"
        size, (low, high) = load_space(self.file.space).size, self.file.covered
        whole = f", but all of --flops {low / 1e9:.10g}:{high / 1e9:.10g} are there" if high else ""
        return f"{trained} of {size} architectures, {trainings} of {self.file.planned} trainings; not complete{whole}"


def load_benchmark(name: str | Path) -> TableEvaluator:
    """Load the table of a benchmark: of one that comes with autovid, by its name, or a JSON file.

    Raises ConfigError for one that does not exist or is not a table.
    """
    shipped = {path.stem: path for path in TABLES.glob("*.json")}
    if str(name) in shipped:
        return TableEvaluator.read(shipped[str(name)])
    if not Path(name).suffix:
        raise ConfigError(f"no benchmark is called {name}; give {', '.join(sorted(shipped))}, or a JSON file")
    return TableEvaluator.read(Path(name))


def ordinal(number: int) -> str:
    """Write a place: 1st, 2nd, 3rd, 4th, 11th, 21st."""
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def _error(loss: NDArray[np.float64]) -> float:
    """Return the standard error of the mean over seeds; 0 where there is one."""
    return float(loss.std(ddof=1) / np.sqrt(len(loss))) if len(loss) > 1 else 0.0


def _key(choices: Mapping[str, Value]) -> tuple[tuple[str, float | str], ...]:
    """Return the choices in an order of their own, numbers as floats, so that 3 and 3.0 are one expansion."""
    items = choices.items()
    return tuple(sorted((name, float(value) if isinstance(value, int) else value) for name, value in items))


def _rounds(asked: object) -> int | None:
    """Check how often the strategy is to be asked; None leaves it to the strategy. Raises ConfigError."""
    if asked is None or (isinstance(asked, int) and not isinstance(asked, bool) and asked > 0):
        return asked
    raise ConfigError(f"steps {asked!r}: a search by a table takes one number above 0, how often the strategy is asked")


def search_by_table(
    space: SearchSpace,
    constraints: Sequence[Constraint],
    evaluator: TableEvaluator,
    out: Path,
    *,
    strategy: str = "random",
    options: Mapping[str, Any] = MappingProxyType({}),
    seed: int = 0,
    rounds: int | None = None,
    resume: bool = False,
    resume_command: str = "",
) -> SearchResult:
    """Search a space with scores from a table: nothing is trained. `rounds`: of asking (default: the strategy's, 60).

    Raises ConfigError for a table of another space or one that lacks an architecture, CostRangeError where the
    constraints hold no or too few architectures, and what `search` raises.
    """
    table = evaluator.path
    if evaluator.file.space != space.name:
        raise ConfigError(f"{table} has architectures of space {evaluator.file.space}, not of {space.name}")
    evaluator.check_covers(space, constraints)
    values = strategy_settings(strategy, options)
    asked = _rounds(rounds) or int(getattr(values, "rounds", ROUNDS))
    check_enough(whole_problem(space, final_constraints(constraints, space), seed=seed), values)
    arch_lr = 0.1 if takes(strategy, "arch_lr") else 0.0
    reference = space.reference
    settings = SearchSettings(
        parts=(PartSettings(JOINT, 0, 0, 0.0, arch_lr, asked),), frames=reference.frames, crop=reference.crop,
        stride=reference.stride, jitter=(reference.crop, reference.crop), batch=1, strategy=strategy,
        score=f"{TABLE}{table.stem}", options=dict(options), seed=seed,
    )  # fmt: skip
    config = {**search_config(space, None, settings, constraints), "table": digest(table)}
    check_space(out, space)
    with RunDirectory.create_or_resume(out, config, kind="search", resume=resume) as run:
        keep_inputs(run, space, constraints)
        task = SearchTask(space, settings, constraints, evaluator=evaluator)
        outcome = run_task(task, run, seed=seed, resume_command=resume_command)
        return finish(run.path, outcome, facts=lambda arch: evaluator.describe(space, arch, constraints))


def add_results(
    run: Path, searched: Searched, arch: Architecture, constraints: Sequence[Constraint] = ()
) -> Architecture:
    """Add what its search's table knows to the provenance of an architecture that was derived from a run.

    Leaves it as it is where the table does not come with autovid, or has changed since.
    """
    table = TABLES / f"{searched.settings.score.removeprefix(TABLE)}.json"
    if not searched.settings.score.startswith(TABLE) or not table.is_file():
        return arch
    if digest(table) != RunDirectory.open(run).config.get("table"):
        return arch
    facts = TableEvaluator.read(table).describe(searched.space, arch, constraints)
    return replace(arch, provenance={**arch.provenance, **facts})
