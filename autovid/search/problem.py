"""The problem that a strategy is made for: one part of a search, or the whole space."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autovid.costs import Macs
from autovid.search.constraints import PartConstraint, drawable, or_full_range, part_constraints
from autovid.search.feasibility import Feasibility, choose
from autovid.solver import in_order_of_probability, most_probable_within, sample_within
from autovid.solver.several_constraints import likely_within
from autovid.space import SearchSpace
from autovid.space.layout import is_searched_in

Choices = NDArray[np.int64]
"""Candidate numbers (K, D): row k is an architecture, column d a decision of `Problem.space`."""
LogProbs = Sequence[NDArray[np.float64]]
"""Log-probabilities of the candidates, (C_d,), for each decision."""
DRAWS = 256  # architectures that several constraints' best ones are taken from
TRIES = 20  # draws of distinct architectures, where the constraints may hold few others


@dataclass(frozen=True)
class Problem:
    """One part of a search, or the whole space: what a strategy has to decide.

    Attributes:
        space: the decisions, with what earlier parts chose fixed.
        searched: numbers of the decisions that are to be decided. Others with several candidates belong to later parts
            and are drawn uniformly.
        constraints: what an architecture of `space` must lie inside.
        is_feasible: which architectures, choices (K, D), leave later parts a way into their ranges: bool (K,).
        best_first: the most probable architectures under log-probabilities, inside constraints and feasible, as choices
            (D,), the best first. Raises CostRangeError where there is none.
        steps: updates of the weights, of which `warmup` come before the first `ask`.
        learned: log-probabilities of decisions that earlier parts have learned, by name.
        seed: of the search.
    """

    space: SearchSpace
    searched: tuple[int, ...]
    constraints: tuple[PartConstraint, ...]
    is_feasible: Callable[[Choices], NDArray[np.bool_]]
    best_first: Callable[[LogProbs, Sequence[PartConstraint]], Iterator[NDArray[np.int64]]]
    steps: int = 0
    warmup: int = 0
    learned: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    seed: int = 0

    def uniform(self) -> list[NDArray[np.float64]]:
        """Return the uniform distribution over every decision, as log-probabilities."""
        return [np.full(size, -np.log(size)) for size in self.space.sizes]

    def inside(self, choices: Choices, constraints: Sequence[PartConstraint] | None = None) -> NDArray[np.bool_]:
        """Say which architectures lie inside all constraints (by default the problem's) and are feasible: bool (K,)."""
        limits = self.constraints if constraints is None else constraints
        inside = inside_all(limits, choices)
        if inside.any():
            inside[inside] = self.is_feasible(choices[inside])
        return inside

    def sample(
        self,
        n: int,
        rng: np.random.Generator,
        *,
        log_probs: LogProbs | None = None,
        constraints: Sequence[PartConstraint] | None = None,
        distinct: bool = False,
    ) -> Choices:
        """Draw `n` architectures, choices (n, D), inside the constraints; uniformly, or by log-probabilities.

        Constraints of a part that cannot be met together are left out from the last one on: their shares are ours.
        Raises CostRangeError where the constraints hold none, or too few distinct ones.
        """
        limits = drawable(self.constraints) if constraints is None else list(constraints)
        logp = self.uniform() if log_probs is None else log_probs
        if not limits and not distinct:
            columns = [rng.choice(len(p), n, p=np.exp(p)) if len(p) > 1 else np.zeros(n, np.int64) for p in logp]
            return np.stack(columns, axis=1).astype(np.int64)
        return sample_within(or_full_range(limits, Macs(), self.space), logp, n, rng, distinct)

    def sample_others(
        self,
        n: int,
        rng: np.random.Generator,
        known: Choices,
        constraints: Sequence[PartConstraint],
        log_probs: LogProbs | None = None,
    ) -> Choices:
        """Draw up to `n` distinct architectures inside constraints and feasible that are not `known`, as `sample` does.

        They are fewer where so many are not found in TRIES draws of 2 (n + known): (at most n, D).
        """
        before = set(map(tuple, known.tolist()))
        rows: dict[tuple[int, ...], None] = {}
        for _ in range(TRIES):
            if len(rows) >= n:
                break
            drawn = self.sample(2 * (n + len(before)), rng, log_probs=log_probs, constraints=constraints)
            drawn = drawn[self.is_feasible(drawn)]
            rows |= dict.fromkeys(row for row in map(tuple, drawn.tolist()) if row not in before)
        return np.array(list(rows)[:n], np.int64).reshape(-1, len(self.space.sizes))


def inside_all(limits: Sequence[PartConstraint], choices: Choices) -> NDArray[np.bool_]:
    """Say which architectures (K, D) lie inside all constraints: bool (K,)."""
    inside = np.ones(len(choices), bool)
    for limit in limits:
        inside &= limit.inside(choices)
    return inside


def distinct(choices: Choices, n: int) -> Choices:
    """Return the first `n` different architectures of (K, D), in their order: (at most n, D)."""
    rows = list(dict.fromkeys(map(tuple, choices.tolist())))[:n]
    return np.array(rows, np.int64).reshape(-1, choices.shape[1])


def prefers_nothing(log_probs: Iterable[NDArray[np.float64]]) -> bool:
    """Return True where all candidates of each decision are equally probable."""
    return all(np.ptp(logp) == 0 for logp in log_probs)


def part_problem(
    feasibility: Feasibility,
    number: int,
    part_space: SearchSpace,
    *,
    steps: int = 0,
    warmup: int = 0,
    learned: Mapping[str, NDArray[np.float64]] | None = None,
    seed: int = 0,
) -> Problem:
    """Make the problem of part `number`, whose space is `part_space`."""
    parts = feasibility.space.parts[: number + 1]  # what an earlier one has left open is searched, too
    opened = [any(is_searched_in(part, one.name) for part in parts) for one in part_space.decisions]
    searched = [d for d, is_open in enumerate(opened) if is_open and part_space.sizes[d] > 1]
    constraints = tuple(part_constraints(feasibility.constraints, number, feasibility.space, part_space))

    def is_feasible(choices: Choices) -> NDArray[np.bool_]:
        archs = [part_space.architecture(row) for row in choices]
        return np.array([feasibility.leaves_way(number, part_space, arch) for arch in archs], bool)

    def best_first(log_probs: LogProbs, limits: Sequence[PartConstraint]) -> Iterator[NDArray[np.int64]]:
        best: Choices = part_space.index([choose(feasibility, number, part_space, log_probs)])[0]
        yield best
        for row in _by_probability(part_space, limits, log_probs):
            if not np.array_equal(row, best) and is_feasible(row[None])[0]:
                yield row

    return Problem(
        part_space, tuple(searched), constraints, is_feasible, best_first, steps, warmup, learned or {}, seed
    )


def whole_problem(
    space: SearchSpace,
    constraints: Sequence[PartConstraint] = (),
    *,
    steps: int = 0,
    learned: Mapping[str, NDArray[np.float64]] | None = None,
    seed: int = 0,
) -> Problem:
    """Make the problem of a search that decides everything that is open in `space` at once."""
    searched = tuple(d for d, size in enumerate(space.sizes) if size > 1)

    def is_feasible(choices: Choices) -> NDArray[np.bool_]:
        return np.ones(len(choices), bool)

    def best_first(log_probs: LogProbs, limits: Sequence[PartConstraint]) -> Iterator[NDArray[np.int64]]:
        return _by_probability(space, limits, log_probs)

    return Problem(space, searched, tuple(constraints), is_feasible, best_first, steps, 0, learned or {}, seed)


def check_enough(problem: Problem, settings: Any) -> None:
    """Raise CostRangeError where the constraints hold too few architectures for a strategy's setting, or none."""
    problem.sample(getattr(settings, "architectures", 1), np.random.default_rng(problem.seed), distinct=True)


def _by_probability(
    space: SearchSpace, constraints: Sequence[PartConstraint], log_probs: LogProbs
) -> Iterator[NDArray[np.int64]]:
    """Architectures inside constraints, the most probable first: all of them for one, some that are found for more."""
    limits = or_full_range(constraints, Macs(), space)
    if len(limits) == 1:
        for solution in in_order_of_probability(limits[0].table, log_probs, *limits[0].range):
            yield solution.choices
        return
    best = most_probable_within(limits, log_probs).choices
    yield best
    rows = likely_within(limits, log_probs, DRAWS)
    score_N = np.sum([logp[column] for logp, column in zip(log_probs, rows.T)], axis=0)
    for row in rows[np.argsort(-score_N, kind="stable")]:
        if not np.array_equal(row, best):
            yield row
