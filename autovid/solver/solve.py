"""The most probable architecture inside a range of cost, solved on the table instead of sampled and hoped for.

A prior is independent categoricals, one vector of log-probabilities (or logits: they are normalised) per decision;
ranges have both ends included. Costs are binned to solve and rechecked exactly, so the answers are exact. How much of
the prior lies in a range: distribution.py; draws from the prior given a range: constrained_sampling.py.

The search is best-first over a grid: architectures one by one, in order of probability or of a perturbed one. A level
of the grid says how good the best completion of a partial architecture is, exactly for costs in bins, so A* walks
straight to the next architecture. Exact costs ride along, and a branch is dropped as soon as the rounding errors still
to come cannot bring it into the range.
"""

import contextlib
import heapq
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR
from itertools import count
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from autovid.errors import CostRangeError
from autovid.solver.binned_dp import MAX, MAX_BINS, Floats, Grid, Level, grid_for, of_old
from autovid.solver.cost_range import CostRange, Ints
from autovid.solver.distribution import TablePrior, reachable_costs
from autovid.solver.table import CostTable

_UNEVEN = 1e-3  # weight of an uneven share against an error
MAX_VISITS = 200_000  # about 10 s


class SearchTooLongError(CostRangeError):
    """Not proven empty, but too much lies near the range and too little in it."""


Rank = Callable[[Floats, float], Floats]  # scores of siblings, priority of their parent -> priorities


@dataclass(frozen=True, slots=True)
class _Node:
    """An architecture with its first `depth` steps decided."""

    depth: int
    state: int
    bins: int  # that the other steps must add up to
    score: float
    cost: int  # exact, of the decided steps
    outcome: int
    parent: "_Node | None"


@dataclass(frozen=True, slots=True)
class _Siblings:
    """The children of a node, best first; created one at a time. Of the root the outcomes are bins to add up to."""

    parent: _Node | None
    outcomes: list[int]
    priorities: list[float]
    off: list[float]


def best_in_range(
    table: CostTable, weights: list[Floats], low: int, high: int, visits: int | None = None
) -> Iterator[tuple[Ints, int]]:
    """Choices (D,) and exact cost of the architectures with low <= cost <= high, by falling sum of weights.

    `weights[i]` (R,) or (O, R): finite weight of each outcome of step i. They are rounded to a common power of
    two, at worst 1e-11 of their sum, so that all sums are exact and equals are seen to be equal. Raises as
    `BestFirstSearch.walk`.
    """
    most = sum(float(np.abs(w).max()) for w in weights)
    ulp = 2.0 ** (math.ceil(math.log2(most + 1)) - 51)
    weights = [np.rint(w / ulp) * ulp for w in weights]
    grid = grid_for(table, low, high, MAX_BINS)  # the best lies at an end of the range, better ones just outside it
    first, last = grid.window(low, high)
    if first <= last:
        yield from BestFirstSearch(grid, grid.solve(weights, MAX, first, last), weights, low, high).walk(visits=visits)


class BestFirstSearch:
    """The search for architectures with low <= cost <= high, on `levels` that `grid` solved for `weights`."""

    def __init__(self, grid: Grid, levels: list[Level], weights: list[Floats], low: int, high: int) -> None:
        self._grid = grid
        self._steps = grid.table.steps
        self._levels = levels
        self._weights = weights
        self._low, self._high, self._centre = low, high, (low + high) / 2
        self._share = (self._centre - grid.base) / (grid.pitch * max(1, grid.most_bins[-1]))
        self.visited = 0  # partial and whole architectures

    def walk(self, rank: Rank | None = None, visits: int | None = None) -> Iterator[tuple[Ints, int]]:
        """Choices (D,) and exact cost by falling priority; `rank` None: by falling score.

        Among equals the search goes deep and keeps to the middle of the range, so that a uniform prior costs no more
        than any other.

        Raises:
            SearchTooLongError: so many visits (by default MAX_VISITS) since the last architecture found.
        """
        visits = visits or MAX_VISITS
        serial, limit = count(), visits
        heap: list[tuple[float, int, float, int, _Siblings, int]] = []

        def push(siblings: _Siblings, k: int) -> None:
            if k < len(siblings.outcomes):
                depth = siblings.parent.depth + 1 if siblings.parent else 0
                entry = (-siblings.priorities[k], -depth, siblings.off[k], next(serial), siblings, k)
                heapq.heappush(heap, entry)

        push(self._roots(rank), 0)
        met: set[tuple[int, int, int, int]] | None = set() if rank is None else None
        aside: list[_Node] = []
        while heap:
            priority, _, _, _, siblings, k = heapq.heappop(heap)
            push(siblings, k + 1)
            node = self._child(siblings, k)
            self.visited += 1
            if self.visited > limit:
                raise SearchTooLongError(
                    f"gave up after {visits:,} partial architectures: too many lie near the range and too few in "
                    "it; widen the range"
                )
            if node.depth == len(self._steps):
                yield self._choices(node), node.cost
                limit, met = self.visited + visits, None
                while aside:
                    twin = aside.pop()
                    push(self._children(twin, 0.0, None), 0)
                continue
            if met is not None:  # to the first architecture, one of several equal ways will do: blocks repeat
                key = (node.depth, node.state, node.bins, node.cost)
                if key in met:
                    aside.append(node)
                    continue
                met.add(key)
            push(self._children(node, -priority, rank), 0)

    def _choices(self, node: _Node) -> Ints:
        choices = np.zeros(len(self._grid.table.sizes), np.int64)
        while node.parent:
            step = self._steps[node.depth - 1]
            choices[list(step.decisions)] = step.values_RD[node.outcome]
            node = node.parent
        return choices

    def _roots(self, rank: Rank | None) -> _Siblings:
        scores = self._levels[0].values_SB[0]
        bins = self._levels[0].start + np.arange(len(scores))
        cost = np.full(len(bins), self._grid.table.constant)
        return self._sort(None, bins, cost, bins, rank(scores, np.inf) if rank else scores)

    def _children(self, node: _Node, priority: float, rank: Rank | None) -> _Siblings:
        step, bins_OR = self._steps[node.depth], self._grid.bins_OR[node.depth]
        old, other = divmod(node.state, len(step.carry))
        bins = node.bins - bins_OR[old]
        rest = self._levels[node.depth + 1].at(step.after(old, other), bins, -np.inf)
        scores = node.score + of_old(self._weights[node.depth], old) + rest
        priorities = rank(scores, priority) if rank else scores
        return self._sort(node, np.arange(len(bins)), node.cost + step.cost_OR[old], bins, priorities)

    def _sort(self, parent: _Node | None, outcomes: Ints, cost: Ints, bins: Ints, priorities: Floats) -> _Siblings:
        """Return the siblings that can still end inside the range; for whole architectures that is exact."""
        depth, grid = parent.depth + 1 if parent else 0, self._grid
        base, least, most = grid.ahead[depth]
        cost = cost + base + grid.pitch * bins
        hopeful = (cost + most >= self._low) & (cost + least <= self._high) & (priorities > -np.inf)
        outcomes, priorities = outcomes[hopeful], priorities[hopeful]
        # Among equals: little error so far, and an even share of the cost left for the steps to come, which keeps them
        # free to choose.
        uneven = np.abs(bins[hopeful] - self._share * (grid.most_bins[-1] - grid.most_bins[depth]))
        off = np.abs(cost[hopeful] - self._centre) + _UNEVEN * grid.pitch * uneven
        order = np.lexsort((off, -priorities))
        return _Siblings(parent, outcomes[order].tolist(), priorities[order].tolist(), off[order].tolist())

    def _child(self, siblings: _Siblings, k: int) -> _Node:
        parent, outcome = siblings.parent, siblings.outcomes[k]
        if parent is None:
            return _Node(0, 0, outcome, 0.0, self._grid.table.constant, 0, None)
        step = self._steps[parent.depth]
        old, other = divmod(parent.state, len(step.carry))
        return _Node(
            depth=parent.depth + 1,
            state=int(step.bases[step.kept_OR[old, outcome]] + step.carry[other]),
            bins=parent.bins - int(self._grid.bins_OR[parent.depth][old, outcome]),
            score=parent.score + float(of_old(self._weights[parent.depth], old)[outcome]),
            cost=parent.cost + int(step.cost_OR[old, outcome]),
            outcome=outcome,
            parent=parent,
        )


class Solution(NamedTuple):
    """An architecture: its choices (D,), the natural logarithm of its probability, its cost.

    `gap`: by how much at most the logarithm of another one's could be larger; 0 with one cost.
    """

    choices: Ints
    logprob: float
    cost: int
    gap: float = 0.0


def in_order_of_probability(table: CostTable, logp: Sequence[ArrayLike], low: int, high: int) -> Iterator[Solution]:
    """All architectures with low <= cost <= high, the most probable first; proven, not sampled.

    Log-probabilities closer than 1e-11 of their size count as equal. Deterministic.

    Raises:
        CostRangeError: at the first step, when there is none, with the reachable range; later, when the search becomes
            too long (see BestFirstSearch.walk).
    """
    prior = TablePrior(table, logp)
    inner = check_range(prior.table, low, high)
    empty = True
    for choices, cost in best_in_range(prior.table, prior.weights, *inner):
        empty = False
        yield Solution(prior.original(choices), prior.logprob(choices), cost)
    if empty:
        raise nothing_in(prior.table, low, high)


def most_probable(table: CostTable, logp: Sequence[ArrayLike], low: int, high: int) -> Solution:
    """Return the most probable architecture with low <= cost <= high.

    Raises:
        CostRangeError: there is none; the message has the reachable range, or the nearest reachable costs.
    """
    return next(in_order_of_probability(table, logp, low, high))


def check_range(table: CostTable, low: int, high: int) -> CostRange:
    """Return the range without ends that no architecture can have: clipped to the reachable span and whole `unit`s.

    Raises:
        CostRangeError: nothing is left; the message has the reachable range, or the nearest reachable costs.
    """
    (smallest, _), (largest, _), says = table.smallest(), table.largest(), table.quantity
    if low > largest or high < smallest or low > high:
        raise CostRangeError(
            f"no architecture has {says.say(low, high)}: reachable is {says.text(smallest, ROUND_CEILING, 5)}–"
            f"{says.text(largest, ROUND_FLOOR, 5)} {says.unit}; choose a range that overlaps it"
        )
    inner = CostRange(*table.snap(max(low, smallest), min(high, largest)))
    if inner.low > inner.high:
        raise nothing_in(table, low, high)
    return inner


def nothing_in(table: CostTable, low: int, high: int) -> CostRangeError:
    """Return the error for a range inside the reachable span that holds no architecture."""
    costs = reachable_costs(table)
    if costs is not None:
        below, above = costs[costs < low], costs[costs > high]
        near, label = [*below[-1:], *above[:1]], "the nearest reachable are"
    else:
        near, label = [c for c in (_beside(table, low, -1), _beside(table, high, 1)) if c is not None], "near are"
    says = table.quantity
    places = " and ".join(says.text(int(cost)) for cost in near)
    return CostRangeError(f"no architecture has {says.say(low, high)}: {label} {places} {says.unit}")


def _beside(table: CostTable, end: int, sign: int) -> int | None:
    """Return the cost of an architecture below (sign -1) or above `end`, looked for ever further away."""
    smallest, largest = table.smallest()[0], table.largest()[0]
    weights = [np.zeros(step.cost_OR.shape[1]) for step in table.steps]
    width = max(table.unit, (largest - smallest) >> 17)
    while smallest <= end + sign <= largest:
        low, high = sorted((end + sign, end + sign * width))
        with contextlib.suppress(SearchTooLongError):
            for _, cost in best_in_range(table, weights, max(low, smallest), min(high, largest)):
                return cost
        if low < smallest or high > largest:
            return None
        width *= 16
    return None
