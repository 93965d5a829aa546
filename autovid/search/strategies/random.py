"""Random search: distinct architectures drawn uniformly inside the constraints; the best scored one is taken.

Li and Talwalkar, "Random search and reproducibility for neural architecture search" (2019, arXiv 1902.07638), show how
hard it is to beat.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from autovid.search.constraints import PartConstraint
from autovid.search.problem import Choices, Problem
from autovid.search.strategy import ScoredArchitectures, Scores, State


class RandomSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`architectures`: how many are scored. `batch`: how many at a time; `draws`: how many an update of the weights."""

    architectures: int = 16
    batch: int = 1
    draws: int = 1

    @property
    def rounds(self) -> int:
        """The number of times that `ask` has something to ask."""
        return -(-self.architectures // self.batch)


class RandomSearch:
    """Scores a fixed list of random architectures."""

    Settings: ClassVar = RandomSettings
    weighting: Literal["equal", "likelihood"] = "equal"
    interleaved = False
    score: ClassVar[Literal["supernet", "training"]] = "training"

    def __init__(self, problem: Problem, settings: RandomSettings) -> None:
        self.problem, self.settings = problem, settings
        self.scored = ScoredArchitectures(problem)
        self.asked = 0
        self._rows: Choices | None = None

    @property
    def rows(self) -> Choices:
        """All architectures that are scored: the same for equal seeds, however many are asked for at a time."""
        if self._rows is None:
            rng = np.random.default_rng(self.problem.seed)
            self._rows = self.problem.sample(self.settings.architectures, rng, distinct=True)
        return self._rows

    def draw(self, step: int, n: int | None, rng: np.random.Generator) -> Choices:
        return self.problem.sample(n or self.settings.draws, rng)

    def ask(self, step: int, rng: np.random.Generator) -> Choices:
        return self.rows[self.asked : self.asked + self.settings.batch]

    def tell(self, choices: Choices, scores: Scores) -> dict[str, float]:
        self.scored.add(choices, scores)
        self.asked += len(choices)
        return {"best_log_likelihood": max(self.scored.scores)}

    def candidates(self, n: int, constraints: Sequence[PartConstraint], rng: np.random.Generator) -> Choices:
        return self.scored.candidates(n, constraints, rng)

    def distribution(self) -> list[NDArray[np.float64]] | None:
        return None

    def state(self) -> State:
        return {"scored": self.scored.state(), "asked": self.asked}

    def load(self, state: State) -> None:
        self.scored.load(state["scored"])
        self.asked = state["asked"]
