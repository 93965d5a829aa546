"""The most probable architecture inside a range of cost, solved on the table instead of sampled and hoped for.

A prior is independent categoricals, one vector of log-probabilities (or logits: they are normalised) per decision;
ranges have both ends included. Costs are binned to solve and rechecked exactly, so the answers are exact. How much of
the prior lies in a range: distribution.py; draws from the prior given a range: constrained_sampling.py.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from numpy.typing import ArrayLike

from autovid.solver.best_first import best_in_range
from autovid.solver.elimination import Ints
from autovid.solver.prior import TablePrior
from autovid.solver.range_check import check_range, nothing_in
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
