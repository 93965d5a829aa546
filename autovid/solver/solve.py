"""The most probable architecture inside a range of cost, solved on the table instead of sampled and hoped for.

A prior is independent categoricals, one vector of log-probabilities (or logits: they are normalised) per decision;
ranges have both ends included. Costs are binned to solve and rechecked exactly, so the answers are exact. How much of
the prior lies in a range: distribution.py; draws from the prior given a range: constrained_sampling.py.
"""

import contextlib
from collections.abc import Iterator, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from autovid.errors import CostRangeError
from autovid.solver.best_first import SearchTooLongError, best_in_range
from autovid.solver.cost_range import CostRange
from autovid.solver.distribution import TablePrior, reachable_costs
from autovid.solver.elimination import Ints
from autovid.solver.table import CostTable


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
            too long (see Tree.walk).
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
    reach = max(table.unit, (largest - smallest) >> 17)
    while smallest <= end + sign <= largest:
        low, high = sorted((end + sign, end + sign * reach))
        with contextlib.suppress(SearchTooLongError):
            for _, cost in best_in_range(table, weights, max(low, smallest), min(high, largest)):
                return cost
        if low < smallest or high > largest:
            return None
        reach *= 16
    return None
