"""Feasibility: a part of the search must leave the later parts a way into their ranges. Ours.

A part takes the most probable architecture inside its own ranges that leaves such a way (`choose`).
"""

import heapq
import itertools
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np

from autovid.costs import Macs
from autovid.errors import CostRangeError
from autovid.search.constraints import (
    Constraint,
    PartConstraint,
    final_constraints,
    or_full_range,
    part_constraints,
    uniform,
)
from autovid.solver import CostTable, Solution, TableConstraint, most_probable, most_probable_within, sample_within
from autovid.solver.distribution import reachable_costs
from autovid.solver.several_constraints import likely_within
from autovid.space import Architecture, SearchSpace
from autovid.space.layout import is_searched_in, sites
from autovid.space.schema import Value

LOOKAHEAD = 12  # architectures of the next part that are tried before its ranges count as out of reach
COMBINATIONS = 500  # of choices that later parts see, above which they are not told apart
DEEPEST = 10  # how often a slice of the range is halved
DRAWS = 256  # whole networks that a part with several constraints chooses among, twice


class Feasibility:
    """Answers if later parts can meet their ranges.

    The answer depends on an architecture's costs and on a few of its choices, so that tables serve many architectures.
    With one constraint it looks ahead exactly at the last part, and at some architectures of the parts before; with
    several it says yes where architectures inside are found in bounded time.
    """

    def __init__(self, space: SearchSpace, constraints: Sequence[Constraint]) -> None:
        self.space, self.constraints = space, constraints
        self._seen = [_seen(space, number) for number in range(-1, len(space.parts))]
        self._ahead: dict[tuple[object, ...], _Ahead] = {}

    def is_feasible(self, number: int, chosen: Mapping[str, Value], costs: Sequence[int]) -> bool:
        """Say whether the parts after `number` can still meet their ranges once `chosen` is fixed.

        `costs` of `chosen`, one for each constraint, are those of `fixed_cost` in the space of part `number`.
        Some architectures of the next part are drawn from inside its ranges, and each is asked the same question.
        """
        following = number + 1
        if following == len(self.space.parts):
            return True
        limited = self._limited(following)
        if not limited:
            return self.is_feasible(following, chosen, costs)
        ahead = self._look(following, chosen, costs)
        before = [cost - at_first for cost, at_first in zip(costs, ahead.costs)]
        name = self.space.parts[following].name
        left = [TableConstraint(ahead.tables[i], self.constraints[i].parts[name].shifted(before[i])) for i in limited]
        if ahead.reachable is not None:
            low, high = left[0].range
            first = bisect_left(ahead.reachable, low)
            return first < len(ahead.reachable) and bool(ahead.reachable[first] <= high)
        return self._any(ahead, following, chosen, left, before)

    def leaves_way(self, number: int, part_space: SearchSpace, arch: Architecture) -> bool:
        """Say whether the parts after `number` can meet their ranges once this architecture of the part is chosen."""
        tables = [constraint.cost.table(part_space) for constraint in self.constraints]
        rows = part_space.index([arch])
        costs = [int(fixed_cost(self.space, number, part_space, table, rows)[0]) for table in tables]
        return self.is_feasible(number, decided(self.space, number, arch), costs)

    def _limited(self, number: int) -> list[int]:
        """Return the numbers of the constraints that have a range at the end of a part."""
        name = self.space.parts[number].name
        return [i for i, constraint in enumerate(self.constraints) if name in constraint.parts]

    def _any(
        self,
        ahead: "_Ahead",
        number: int,
        chosen: Mapping[str, Value],
        left: Sequence[TableConstraint],
        before: Sequence[int],
    ) -> bool:
        n = LOOKAHEAD if number + 1 < len(self.space.parts) else 1
        try:
            rows = sample_within(left, uniform(left[0].table), n, np.random.default_rng(0))
        except CostRangeError:
            return False
        costs = [fixed_cost(self.space, number, ahead.space, table, rows) for table in ahead.tables]
        for k, row in enumerate(rows):
            more = {**decided(self.space, number, ahead.space.architecture(row)), **chosen}
            if self.is_feasible(number, more, [int(cost[k]) + used for cost, used in zip(costs, before)]):
                return True
        return False

    def _look(self, number: int, chosen: Mapping[str, Value], costs: Sequence[int]) -> "_Ahead":
        """Return the part's space; made once for every combination of the choices that its sites and later ones see."""
        key = (number, *(chosen[name] for name in self._seen[number] if name in chosen))
        if key not in self._ahead:
            part_space = self.space.part_space(number, chosen)
            tables = [constraint.cost.table(part_space) for constraint in self.constraints]
            limited = self._limited(number)
            alone = number + 1 == len(self.space.parts) and len(limited) == 1
            reachable = reachable_costs(tables[limited[0]]) if alone else None
            self._ahead[key] = _Ahead(part_space, tables, costs, reachable)
        return self._ahead[key]


@dataclass(frozen=True)
class _Ahead:
    """The space of a part for one combination of earlier choices, its cost tables, and the costs of these choices."""

    space: SearchSpace
    tables: Sequence[CostTable]
    costs: Sequence[int]
    reachable: np.ndarray | None  # all costs of the last part where it has one constraint and they can be listed


def choose(
    feasibility: Feasibility, number: int, part_space: SearchSpace, log_probs: Sequence[np.ndarray]
) -> Architecture:
    """Return the most probable architecture of part `number` inside its ranges that leaves the later parts a way.

    `part_space` is the part's space, `log_probs` its prior. With one constraint the answer is exact, as far as
    `is_feasible` is. With several the most probable one (see `most_probable_within`) is taken if it leaves a way;
    else the most probable of some whole networks that are drawn from the final ranges: each is a way for its own
    beginning into these, if perhaps not through the ranges of the parts between.

    Raises CostRangeError where none is found.
    """
    constraints = part_constraints(feasibility.constraints, number, feasibility.space, part_space)
    if len(constraints) < 2:
        archs = _in_order(feasibility, number, part_space, log_probs, constraints)
    else:
        archs = iter(_best(constraints, part_space, log_probs))
    for arch in archs:
        if feasibility.leaves_way(number, part_space, arch):
            return arch
    if len(constraints) > 1:
        drawn = _drawn(feasibility, number, part_space, log_probs, constraints)
        for arch in drawn:
            if feasibility.leaves_way(number, part_space, arch):
                return arch
        if drawn:
            return drawn[0]
    name = feasibility.space.parts[number].name
    raise CostRangeError(f"part {name}: no architecture inside its ranges leaves the next part a way into its own")


def _best(
    constraints: Sequence[TableConstraint], part_space: SearchSpace, log_probs: Sequence[np.ndarray]
) -> list[Architecture]:
    """Return the most probable architecture inside several ranges, if one is found."""
    try:
        return [part_space.architecture(most_probable_within(constraints, log_probs).choices)]
    except CostRangeError:
        return []


def _drawn(
    feasibility: Feasibility,
    number: int,
    part_space: SearchSpace,
    log_probs: Sequence[np.ndarray],
    constraints: Sequence[PartConstraint],
) -> list[Architecture]:
    """Return the beginnings of some whole networks drawn from the final ranges, the part's decisions by its prior.

    Later decisions are drawn uniformly. Those inside the part's ranges come first, and the more probable ones.
    """
    space = feasibility.space
    fixed = {d.name: d.candidates[0] for d in part_space.decisions if len(d.candidates) == 1}
    left = space.fix({n: v for n, v in fixed.items() if any(is_searched_in(p, n) for p in space.parts[:number])})
    final = or_full_range(final_constraints(feasibility.constraints, left), constraints[0].cost, left)
    learned = {
        d.name: p
        for d, p in zip(part_space.decisions, log_probs)
        if any(is_searched_in(part, d.name) for part in space.parts[: number + 1])
    }
    names = [d.name for d in left.decisions]
    rows = likely_within(final, [learned.get(d.name, np.zeros(len(d.candidates))) for d in left.decisions], DRAWS)
    columns = [rows[:, names.index(d.name)] * (len(d.candidates) > 1) for d in part_space.decisions]  # 0: "skip"
    rows = np.unique(np.stack(columns, axis=1), axis=0)
    logprob_N = np.sum([p[column] for p, column in zip(log_probs, rows.T)], axis=0)
    outside = [~constraint.inside(rows) for constraint in reversed(constraints)]
    order = np.lexsort([-logprob_N, *outside])  # the first constraint counts most
    return [part_space.architecture(row) for row in rows[order[:LOOKAHEAD]]]


@dataclass(order=True)
class _Region:
    """The architectures of one piece of a part's space in one slice of the range; `solution` is the best of them."""

    rank: tuple[float, int]
    space: SearchSpace = field(compare=False)
    low: int = field(compare=False)
    high: int = field(compare=False)
    depth: int = field(compare=False)  # how often it was halved; -1 for the whole space
    solution: Solution = field(compare=False)


def _in_order(
    feasibility: Feasibility,
    number: int,
    part_space: SearchSpace,
    log_probs: Sequence[np.ndarray],
    constraints: Sequence[PartConstraint],
) -> Iterator[Architecture]:
    """Yield the best of ever smaller pieces of the part's space, the most probable first; for at most one constraint.

    Feasibility depends on a few choices (the widths that later parts see) and on the cost. So a piece whose best is
    not feasible is split by these choices, and then by cost, down to slices of 1/1024 of the range.
    """
    known = [constraint.cost for constraint in constraints or feasibility.constraints]
    cost = known[0] if known else Macs()
    (whole,) = or_full_range(constraints, cost, part_space)
    queue: list[_Region] = []

    def push(space: SearchSpace, low: int, high: int, depth: int) -> None:
        if solution := _solve(space, cost.table(space), low, high, part_space, log_probs):
            heapq.heappush(queue, _Region((-solution.logprob, len(queue)), space, low, high, depth, solution))

    push(part_space, whole.range.low, min(whole.range.high, whole.table.largest()[0]), -1)
    while queue:
        best = heapq.heappop(queue)
        yield best.space.architecture(best.solution.choices)
        if best.depth < 0:
            for choices in _combinations(feasibility.space, number, part_space):
                push(part_space.fix(choices), best.low, best.high, 0)
        elif best.depth < DEEPEST and best.low < best.high:
            middle = (best.low + best.high) // 2
            push(best.space, best.low, middle, best.depth + 1)
            push(best.space, middle + 1, best.high, best.depth + 1)


def _solve(
    space: SearchSpace,
    table: CostTable,
    low: int,
    high: int,
    part_space: SearchSpace,
    log_probs: Sequence[np.ndarray],
) -> Solution | None:
    """Return the most probable architecture of a piece `space` of the part's space, if anything lies in it."""
    kept = [
        logp[[full.candidates.index(candidate) for candidate in left.candidates]]
        for logp, full, left in zip(log_probs, part_space.decisions, space.decisions)
    ]
    try:
        solution = most_probable(table, kept, low, high)
    except CostRangeError:
        return None
    # the solver normalises: what is fixed counts there as certain
    fixed = sum(float(logp[0]) for logp in kept if len(logp) == 1)
    return solution._replace(logprob=solution.logprob + fixed)


def _combinations(space: SearchSpace, number: int, part_space: SearchSpace) -> Iterator[dict[str, Value]]:
    """All combinations of the open choices that sites of later parts depend on."""
    names = _seen(space, number)
    seen = [d for d in part_space.decisions if d.name in names]
    if prod(len(d.candidates) for d in seen) > COMBINATIONS:
        seen = []
    for values in itertools.product(*(d.candidates for d in seen)):
        yield dict(zip((d.name for d in seen), values))


def _seen(space: SearchSpace, number: int) -> list[str]:
    """Return the decisions of the parts up to `number` that sites with decisions of later parts depend on."""
    done = {d.name for d in space.decisions if any(is_searched_in(part, d.name) for part in space.parts[: number + 1])}
    later = [site for site in sites(space.network, space.reference) if any(name not in done for name in site.scope)]
    return [d.name for d in space.decisions if d.name in done and any(d.name in site.scope for site in later)]


def decided(space: SearchSpace, number: int, arch: Architecture) -> dict[str, Value]:
    """Return the decisions that an architecture of part `number` makes for good: not the "skip" of later parts."""
    done = space.parts[: number + 1]
    return {name: value for name, value in arch.choices.items() if any(is_searched_in(part, name) for part in done)}


def fixed_cost(
    space: SearchSpace, number: int, part_space: SearchSpace, table: CostTable, rows: np.ndarray
) -> np.ndarray:
    """Costs, int64 (N,), of choices (N, D) of part `number`, with the first candidate for decisions of later parts."""
    later = [d.name for d in space.decisions if any(is_searched_in(part, d.name) for part in space.parts[number + 1 :])]
    rows = rows.copy()
    rows[:, [i for i, d in enumerate(part_space.decisions) if d.name in later]] = 0
    return table.total(rows)
