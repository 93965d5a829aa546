"""Architectures that were scored, and which of them are the best: what strategies without a distribution know."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from autovid.errors import CostRangeError
from autovid.search.constraints import PartConstraint
from autovid.search.problem import Choices, Problem
from autovid.search.strategy import Scores, State


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
        rows = dict.fromkeys(map(tuple, [*best.tolist(), *drawn.tolist()]))
        if not rows:
            raise CostRangeError("no architecture inside the constraints leaves later parts a way into their ranges")
        return np.array(list(rows)[:n], np.int64)

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
