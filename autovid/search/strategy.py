"""Search strategies: what one is made from, what it is asked for, and what it learns from.

A space says what can be built, constraints say what it may cost, a strategy says which architectures to look at next
and which to take. The supernet and its training belong to none of them. `autovid.testing.check_strategy` checks a
strategy of one's own; docs/howto/strategy.md shows one. Shapes: K architectures, D decisions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from autovid.config.document import read_yaml_text
from autovid.errors import ConfigError, CostRangeError
from autovid.search.constraints import PartConstraint
from autovid.search.problem import Choices, Problem, distinct
from autovid.search.strategies import STRATEGIES
from autovid.space import SearchSpace

SUPERNET, TRAINING, TABLE = "supernet", "training", "table:"  # how architectures are scored; a table has a name behind
State = dict[str, Any]
"""Nested dicts and lists of plain values and tensors: what torch.load(weights_only=True) gives back."""


@dataclass(frozen=True)
class Scores:
    """The quality of K architectures on the same held-out clips.

    `log_likelihood_K`: the mean of log p(label) over the clips, in nats; `standard_error_K`: of that mean;
    `correct_K`: how many of `clips` clips were classified right; `chance`: the loss of the best constant answer.
    """

    log_likelihood_K: NDArray[np.float64]
    standard_error_K: NDArray[np.float64]
    correct_K: NDArray[np.int64]
    clips: int
    chance: float


class Evaluator(Protocol):
    """Scores architectures: by the supernet, by training each alone, or from a table."""

    def score(self, space: SearchSpace, choices: Choices, split: str, clips: int | None) -> Scores:
        """Score architectures of `space` on `clips` clips of a split (always the same ones; None: the next batch)."""


class Strategy(Protocol):
    """Decides what to draw, what to score, and what to take.

    `weighting` says how the losses of an update's architectures are weighted: "equal", or by their "likelihood", as
    PARSEC does. `interleaved`: whether `ask` and `tell` come between the updates of the weights, or after them.
    `score`: how its architectures are scored unless somebody says otherwise; "supernet" where it has no such attribute.
    A strategy may have an attribute `opening` (autovid/search/objective.py): while that is not open, it has no
    evidence; and `moved_by_cost`, what part of the movement of its distribution is due to cost.

    `Settings` needs `rounds`, a field or a property, where a strategy is not interleaved: how often it is asked after
    the updates. Others that autovid knows, if there are any:

        architectures    how many are scored in all: what `-n` sets
        batch            how many are asked for at a time
        arch_lr          the learning rate of a distribution: every part's own, by the space's recipe
        in_range         draw only inside the constraints: always so in the joint phase
        samples          K: how many an update draws and learns from; most_samples: at most
        likelihood       "mean" or "sum" over the clips of a batch, for the weighting by likelihood
        open_prior       "evidence": there is no warm-up of a fixed length
        of_recipe        a class method: the settings by the space's recipe, as `ParsecSettings.of_recipe`
    """

    Settings: ClassVar[type[msgspec.Struct]]
    score: ClassVar[Literal["supernet", "training"]] = "supernet"
    weighting: Literal["equal", "likelihood"]
    interleaved: bool

    def __init__(self, problem: Problem, settings: Any) -> None: ...

    def draw(self, step: int, n: int | None, rng: np.random.Generator) -> Choices:
        """Architectures for update `step` of the weights: `n` of them, or as many as the strategy wants."""

    def ask(self, step: int, rng: np.random.Generator) -> Choices:
        """Architectures to be scored now; none, (0, D), during the warm-up. `rng` is the same as that of `draw`."""

    def tell(self, choices: Choices, scores: Scores) -> dict[str, float]:
        """Learn from scores; return figures for the log."""

    def candidates(self, n: int, constraints: Sequence[PartConstraint], rng: np.random.Generator) -> Choices:
        """Distinct architectures inside `constraints` and feasible, the best first: (at most `n`, D).

        Raises CostRangeError where there is none.
        """

    def distribution(self) -> list[NDArray[np.float64]] | None:
        """Log-probabilities of every candidate of every decision, where the strategy learns a distribution."""

    def state(self) -> State:
        """Everything that is needed to go on."""

    def load(self, state: State) -> None:
        """Take up a saved state."""


def read_strategy_options(pairs: Sequence[str], group: str = "strategy") -> tuple[dict[str, Any], list[str]]:
    """Split KEY=VALUE pairs: the values of `strategy.KEY`, and the pairs of other keys. Raises ConfigError.

    `group`: another word before the dot.
    """
    options, others = {}, []
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not key.startswith(f"{group}.") or not equals:
            others.append(pair)
            continue
        value = read_yaml_text(f"value: {text}", f"--set {pair}").as_type(dict[str, Any])["value"]
        options[key.removeprefix(f"{group}.")] = value
    return options, others


def strategy_settings(name: str, values: Mapping[str, Any]) -> Any:
    """Return the settings of a strategy, with `values` for some of them. Raises ConfigError with the key."""
    strategy = STRATEGIES.load(name)
    kind = strategy.Settings
    if not (strategy.interleaved or hasattr(kind, "rounds")):
        raise ConfigError(f"the strategy {name} is not interleaved: its Settings need `rounds`, how often it is asked")
    known = {field.name for field in msgspec.structs.fields(kind)}
    if odd := sorted(values.keys() - known):
        raise ConfigError(f"strategy.{odd[0]}: the strategy {name} has {', '.join(sorted(known))}")
    try:
        return msgspec.convert(dict(values), kind)
    except msgspec.ValidationError as error:
        raise ConfigError(f"strategy {name}: {error}") from None


def takes(name: str, key: str) -> bool:
    """Say whether a strategy has a setting."""
    return key in {field.name for field in msgspec.structs.fields(STRATEGIES.load(name).Settings)}


def score_of(strategy: str, asked: str | None = None) -> str:
    """Return how architectures are scored: as `asked`, or as the strategy itself says.

    Raises ConfigError for a way that does not exist.
    """
    if asked is None:
        own: str = getattr(STRATEGIES.load(strategy), "score", SUPERNET)
        return own
    if asked in (SUPERNET, TRAINING) or (asked.startswith(TABLE) and asked != TABLE):
        return asked
    raise ConfigError(f"score {asked}: give {SUPERNET}, {TRAINING} or {TABLE}NAME")


def make_strategy(name: str, problem: Problem, values: Mapping[str, Any]) -> Strategy:
    """Make a strategy for a problem. Raises ConfigError for a name or settings that cannot be."""
    return STRATEGIES.load(name)(problem, strategy_settings(name, values))


class ScoredArchitectures:
    """Every architecture that was scored, once; one that is scored again has the mean over its clips."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.rows: list[tuple[int, ...]] = []
        self.scores: list[float] = []
        self.clips: list[int] = []

    def add(self, choices: Choices, scores: Scores) -> None:
        """Take note of scores."""
        for row, score in zip(map(tuple, choices.tolist()), scores.log_likelihood_K.tolist()):
            if row not in self.rows:
                self.rows.append(row)
                self.scores.append(score)
                self.clips.append(scores.clips)
                continue
            at = self.rows.index(row)
            clips = self.clips[at] + scores.clips
            self.scores[at] += (score - self.scores[at]) * scores.clips / clips
            self.clips[at] = clips

    def candidates(self, n: int, constraints: Sequence[PartConstraint], rng: np.random.Generator) -> Choices:
        """Return the best scored ones inside the constraints; where they are too few, uniform draws follow.

        Raises CostRangeError where none lies inside.
        """
        best = self._best(constraints)[:n]
        if len(best) == n:
            return best
        try:
            drawn = self.problem.sample(2 * n, rng, constraints=constraints)
        except CostRangeError:
            if len(best):
                return best
            raise
        drawn = drawn[self.problem.is_feasible(drawn)]
        rows = distinct(np.concatenate([best, drawn]), n)
        if not len(rows):
            raise CostRangeError("no architecture inside the constraints leaves later parts a way into their ranges")
        return rows

    def _best(self, constraints: Sequence[PartConstraint]) -> Choices:
        rows: NDArray[np.int64] = np.array(self.rows, np.int64).reshape(-1, len(self.problem.space.sizes))
        rows = rows[np.argsort(-np.array(self.scores), kind="stable")]
        return np.asarray(rows[self.problem.inside(rows, constraints)])

    def state(self) -> State:
        """Everything that is needed to go on."""
        return {
            "rows": torch.tensor(self.rows, dtype=torch.int64),
            "scores": torch.tensor(self.scores, dtype=torch.float64),
            "clips": torch.tensor(self.clips, dtype=torch.int64),
        }

    def load(self, state: State) -> None:
        """Take up a saved state."""
        self.rows = [tuple(row) for row in state["rows"].tolist()]
        self.scores, self.clips = state["scores"].tolist(), state["clips"].tolist()
