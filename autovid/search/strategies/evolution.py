"""Regularised evolution: children of good architectures take the place of the oldest ones.

Real, Aggarwal, Huang and Le, "Regularized evolution for image classifier architecture search" (2019, arXiv
1802.01548): a population of P, from which a sample of S is drawn; the best of the sample is mutated in one decision;
the child is scored and joins, the oldest member dies. Ours: children are drawn again until they are inside the
constraints and feasible, and several are scored at a time.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from autovid.search.constraints import PartConstraint
from autovid.search.problem import Choices, Problem
from autovid.search.strategy import ScoredArchitectures, Scores, State

TRIES = 200  # mutations of one parent before a random architecture takes the child's place


class EvolutionSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`population` P, `sample` S, `rounds` of `batch` children each; `draws`: how many an update of the weights."""

    population: int = 32
    sample: int = 8
    rounds: int = 32
    batch: int = 8
    draws: int = 1


class Evolution:
    """Regularised evolution over the decisions that are searched."""

    Settings: ClassVar = EvolutionSettings
    weighting: Literal["equal", "likelihood"] = "equal"
    interleaved = False
    score: ClassVar[Literal["supernet", "training"]] = "supernet"

    def __init__(self, problem: Problem, settings: EvolutionSettings) -> None:
        self.problem, self.settings = problem, settings
        self.scored = ScoredArchitectures(problem)
        self.population: list[tuple[list[int], float]] = []  # the oldest first, each with its score

    def draw(self, step: int, n: int | None, rng: np.random.Generator) -> Choices:
        return self.problem.sample(n or self.settings.draws, rng)

    def ask(self, step: int, rng: np.random.Generator) -> Choices:
        missing = self.settings.population - len(self.population)
        batch = self.settings.batch
        if missing > 0:
            return self.problem.sample(min(missing, batch), rng)
        return np.stack([self._child(rng) for _ in range(batch)])

    def _child(self, rng: np.random.Generator) -> Any:
        members = rng.choice(len(self.population), min(self.settings.sample, len(self.population)), replace=False)
        parent, _ = max((self.population[i] for i in members), key=lambda member: member[1])
        for _ in range(TRIES):
            child = np.array(parent, np.int64)
            d = int(rng.choice(self.problem.searched))
            others = self.problem.space.sizes[d] - 1
            child[d] = (child[d] + 1 + rng.integers(others)) % (others + 1)
            if self.problem.inside(child[None])[0]:
                return child
        return self.problem.sample(1, rng)[0]

    def tell(self, choices: Choices, scores: Scores) -> dict[str, float]:
        self.scored.add(choices, scores)
        self.population += zip(choices.tolist(), scores.log_likelihood_K.tolist())
        self.population = self.population[-self.settings.population :]
        best = [score for _, score in self.population]
        return {"best_log_likelihood": max(best), "mean_log_likelihood": float(np.mean(best))}

    def candidates(self, n: int, constraints: Sequence[PartConstraint], rng: np.random.Generator) -> Choices:
        return self.scored.candidates(n, constraints, rng)

    def distribution(self) -> list[NDArray[np.float64]] | None:
        return None

    def state(self) -> State:
        rows = [row for row, _ in self.population]
        return {
            "scored": self.scored.state(),
            "population": torch.tensor(rows, dtype=torch.int64),
            "scores": torch.tensor([score for _, score in self.population], dtype=torch.float64),
        }

    def load(self, state: State) -> None:
        self.scored.load(state["scored"])
        self.population = list(zip(state["population"].tolist(), state["scores"].tolist()))
