"""Best-first search over a grid: architectures one by one, in order of probability or of a perturbed one.

A level of the grid says how good the best completion of a partial architecture is, exactly for costs in bins, so A*
walks straight to the next architecture and never expands a node in vain. Exact costs ride along; the few
architectures whose bin lies in the window but whose cost does not lie in the range are dropped.
"""

import heapq
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count

import numpy as np

from autovid.cost.grid import MAX, Floats, Grid, Level, grid_for
from autovid.cost.plan import Ints
from autovid.cost.table import CostTable
from autovid.errors import CostRangeError

MAX_VISITS = 200_000  # about 10 s


class SearchTooLongError(CostRangeError):
    """Not proven empty, but too much lies near the range and too little in it."""


Rank = Callable[[Floats, float], Floats]  # scores of siblings, priority of their parent -> priorities


@dataclass(frozen=True, slots=True)
class Node:
    """An architecture with its first `depth` steps decided."""

    depth: int
    state: int
    bins: int  # that the other steps must add up to
    score: float
    cost: int  # exact, of the decided steps
    tie: float
    outcome: int
    parent: "Node | None"


@dataclass(frozen=True, slots=True)
class _Siblings:
    """The children of a node, best first; created one at a time."""

    parent: Node | None
    outcomes: list[int]
    priorities: list[float]


def best_in_range(table: CostTable, weights: list[Floats], low: int, high: int) -> Iterator[tuple[Ints, int]]:
    """Choices (D,) and exact cost of the architectures with low <= cost <= high, by falling sum of weights.

    `weights[i]` (R,): finite weight of each outcome of step i. They are rounded to a common power of two, at worst
    1e-11 of their sum, so that all sums are exact and equals are seen to be equal. Raises as `Tree.walk`.
    """
    most = sum(float(np.abs(w).max()) for w in weights)
    ulp = 2.0 ** (math.ceil(math.log2(most + 1)) - 51)
    weights = [np.rint(w / ulp) * ulp for w in weights]
    grid = grid_for(table, low, high)
    first, last = grid.window(low, high)
    if first <= last:
        yield from Tree(grid, grid.solve(weights, MAX, first, last), weights, low, high).walk()


class Tree:
    """The search for architectures with low <= cost <= high, on `levels` that `grid` solved for `weights`."""

    def __init__(self, grid: Grid, levels: list[Level], weights: list[Floats], low: int, high: int) -> None:
        self._grid = grid
        self._steps = grid.table.steps
        self._levels = levels
        self._weights = weights
        self._low, self._high = low, high
        self._centre = ((low + high) / 2 - grid.base - sum(grid.errors) / 2) / grid.pitch
        self.visited = 0  # partial and whole architectures

    def walk(self, rank: Rank | None = None) -> Iterator[tuple[Ints, int]]:
        """Choices (D,) and exact cost by falling priority; `rank` None: by falling score.

        Of equals the one whose bin is nearest to the middle of the range comes first, and the search goes deep among
        them, so that a uniform prior costs no more than any other.

        Raises:
            SearchTooLongError: MAX_VISITS visits since the last architecture found.
        """
        serial, limit = count(), MAX_VISITS
        heap: list[tuple[float, float, int, int, _Siblings, int]] = []

        def push(siblings: _Siblings, k: int) -> None:
            if k < len(siblings.outcomes):
                parent = siblings.parent
                tie = parent.tie if parent else abs(siblings.outcomes[k] - self._centre)
                depth = parent.depth + 1 if parent else 0
                heapq.heappush(heap, (-siblings.priorities[k], tie, -depth, next(serial), siblings, k))

        push(self._roots(rank), 0)
        while heap:
            priority, tie, _, _, siblings, k = heapq.heappop(heap)
            push(siblings, k + 1)
            node = self._child(siblings, k, tie)
            self.visited += 1
            if self.visited > limit:
                raise SearchTooLongError(
                    f"gave up after {MAX_VISITS:,} partial architectures: too many lie near the range and too few in "
                    "it; widen the range"
                )
            if node.depth < len(self._steps):
                push(self._children(node, -priority, rank), 0)
            elif self._low <= node.cost <= self._high:
                limit = self.visited + MAX_VISITS
                yield self._choices(node), node.cost

    def _choices(self, node: Node) -> Ints:
        """The choices (D,) of a leaf."""
        choices = np.zeros(len(self._grid.table.sizes), np.int64)
        while node.parent:
            step = self._steps[node.depth - 1]
            choices[list(step.decisions)] = step.values_RD[node.outcome]
            node = node.parent
        return choices

    def _roots(self, rank: Rank | None) -> _Siblings:
        scores = self._levels[0].values_SB[0]
        bins = self._levels[0].start + np.arange(len(scores))
        nearest = np.argsort(np.abs(bins - self._centre), kind="stable")
        return _siblings(None, bins[nearest], (rank(scores, np.inf) if rank else scores)[nearest])

    def _children(self, node: Node, priority: float, rank: Rank | None) -> _Siblings:
        step, bins_OR = self._steps[node.depth], self._grid.bins_OR[node.depth]
        old, other = divmod(node.state, len(step.carry))
        rest = self._levels[node.depth + 1].at(step.after(old, other), node.bins - bins_OR[old], -np.inf)
        scores = node.score + self._weights[node.depth] + rest
        return _siblings(node, np.arange(len(scores)), rank(scores, priority) if rank else scores)

    def _child(self, siblings: _Siblings, k: int, tie: float) -> Node:
        parent, outcome = siblings.parent, siblings.outcomes[k]
        if parent is None:
            return Node(0, 0, outcome, 0.0, self._grid.table.constant, tie, 0, None)
        step = self._steps[parent.depth]
        old, other = divmod(parent.state, len(step.carry))
        return Node(
            depth=parent.depth + 1,
            state=int(step.bases[step.kept_OR[old, outcome]] + step.carry[other]),
            bins=parent.bins - int(self._grid.bins_OR[parent.depth][old, outcome]),
            score=parent.score + float(self._weights[parent.depth][outcome]),
            cost=parent.cost + int(step.cost_OR[old, outcome]),
            tie=tie,
            outcome=outcome,
            parent=parent,
        )


def _siblings(parent: Node | None, outcomes: Ints, priorities: Floats) -> _Siblings:
    order = (-priorities).argsort(kind="stable")
    priorities = priorities[order]
    possible = len(priorities) - int(np.isneginf(priorities).sum())
    return _Siblings(parent, outcomes[order[:possible]].tolist(), priorities[:possible].tolist())
