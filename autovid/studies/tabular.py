"""Scores from a table: architectures of a space that were all trained before, so that a strategy runs in seconds.

As NAS-Bench-101 does for images (Ying et al., 2019, arXiv 1902.09635). A table is a JSON file; those of autovid's own
benchmarks lie in `tables/`. A table may lack architectures; what asks for one of them gets an error.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from autovid.errors import ConfigError
from autovid.fileio import digest
from autovid.run import RunDirectory, run_task
from autovid.search import Constraint
from autovid.search.constraints import final_constraints
from autovid.search.problem import Choices, check_enough, whole_problem
from autovid.search.run import SearchResult, check_space, finish, keep_inputs, search_config
from autovid.search.settings import PartSettings, SearchSettings
from autovid.search.strategy import Scores, strategy_settings, takes
from autovid.search.task import SearchTask
from autovid.space import Architecture, SearchSpace, load_space
from autovid.space.schema import JOINT, Value

FORMAT = 1
TABLES = Path(__file__).with_name("tables")
MOST = 20_000  # architectures that are looked up before a search
ROUNDS = 60  # of asking, for a strategy that does not say how many


class TrainedArchitecture(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One architecture: its choices by decision, and of each seed its loss (nats) and correct clips on val."""

    choices: dict[str, Value]
    loss: list[float]
    correct: list[int]


class TableFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The content of a table; each training was judged on `clips` clips, whose loss by chance is `chance`.

    Of a table that is not complete: how many trainings are `planned`, and the MACs from and to which none is missing.
    """

    format: int = FORMAT
    space: str
    about: str = ""
    clips: int
    chance: float
    planned: int = 0
    covered: tuple[int, int] = (0, 0)
    architectures: list[TrainedArchitecture]


class TableEvaluator:
    """Looks scores up: the mean over the seeds of every architecture."""

    def __init__(self, file: TableFile, path: Path) -> None:
        self.file, self.path = file, path
        self._rows = {_key(one.choices): one for one in file.architectures}

    @classmethod
    def read(cls, path: Path) -> "TableEvaluator":
        """Read a table. Raises ConfigError where the file is missing or not a table."""
        try:
            file = msgspec.json.decode(path.read_bytes(), type=TableFile)
        except OSError as error:
            raise ConfigError(f"table {path}: {error.strerror}") from None
        except msgspec.MsgspecError as error:
            raise ConfigError(f"{path} is not a table of architectures: {error}") from None
        if file.format != FORMAT:
            raise ConfigError(f"{path} has format {file.format}; this autovid reads {FORMAT}")
        odd = [one for one in file.architectures if not one.loss or len(one.loss) != len(one.correct)]
        if odd or file.clips < 1:
            raise ConfigError(f"{path}: every architecture needs a loss and a number of correct clips for each seed")
        return cls(file, path)

    def score(self, space: SearchSpace, choices: Choices, split: str = "val", clips: int | None = None) -> Scores:
        """Look up architectures of `space`, choices (K, D). Raises ConfigError for one that the table lacks."""
        rows = [self.look_up(space.architecture(row)) for row in choices]
        losses = [np.array(one.loss) for one in rows]
        return Scores(
            -np.array([loss.mean() for loss in losses]),
            np.array([_error(loss) for loss in losses]),
            np.array([round(float(np.mean(one.correct))) for one in rows], np.int64),
            self.file.clips,
            self.file.chance,
        )

    def look_up(self, arch: Architecture) -> TrainedArchitecture:
        """Return what an architecture has reached with each seed. Raises ConfigError for one that the table lacks."""
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
        score=f"table:{table.stem}", options=dict(options), seed=seed,
    )  # fmt: skip
    config = {**search_config(space, None, settings, constraints), "table": digest(table)}
    check_space(out, space)
    with RunDirectory.create_or_resume(out, config, kind="search", resume=resume) as run:
        keep_inputs(run, space, constraints)
        task = SearchTask(space, settings, constraints, evaluator=evaluator)
        outcome = run_task(task, run, seed=seed, resume_command=resume_command)
        return finish(run.path, outcome)
