"""A prior of independent categoricals, and the distribution of cost under it: exact, or in bins with bounds."""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from autovid.solver.binned_dp import MAX_BINS, SUM, Floats, Grid, grid_for
from autovid.solver.cost_range import Ints
from autovid.solver.table import CostTable

_SMALL = 2**20  # architectures of a space that is listed whatever its costs are: about 0.5 s
_MOST = 2**17  # partial architectures of different cost, at a step, in a larger space


class TablePrior:
    """The prior over what of a table it leaves possible.

    Attributes:
        table: the cost table restricted to candidates of probability > 0.
        logp: normalised log-probabilities of those candidates, by decision.
    """

    def __init__(self, table: CostTable, logits: Sequence[ArrayLike]) -> None:
        values = [np.asarray(x, np.float64) for x in logits]
        if [v.shape for v in values] != [(n,) for n in table.sizes]:
            raise ValueError("one vector of log-probabilities per decision is needed, one number per candidate")
        if any(np.isnan(v).any() or not np.isfinite(v.max()) for v in values):
            raise ValueError("log-probabilities must not be nan, and not all -inf in a decision")
        self._sizes = table.sizes
        self._kept = [np.flatnonzero(v > -np.inf) for v in values]
        dropped = {d: kept for d, (kept, v) in enumerate(zip(self._kept, values)) if len(kept) < len(v)}
        self.table = table.restrict(dropped) if dropped else table
        self.logp = [_log_softmax(v[kept]) for v, kept in zip(values, self._kept)]

    @property
    def weights(self) -> list[Floats]:
        """The log-probability of each outcome of each step of the table."""
        return [
            sum((self.logp[d][values] for d, values in zip(s.decisions, s.values_RD.T)), np.zeros(len(s.values_RD)))
            for s in self.table.steps
        ]

    def original(self, choices: Ints) -> Ints:
        """Return choices (..., D) on the restricted table as choices on the whole one."""
        columns = [kept[choices[..., d]] for d, kept in enumerate(self._kept)]
        return np.stack(columns, axis=-1) if columns else choices

    def spread(self, values: Sequence[Floats]) -> list[Floats]:
        """Vectors over the candidates of the restricted table, by decision, as vectors over all: 0 for the others."""
        whole = [np.zeros(size) for size in self._sizes]
        for vector, kept, some in zip(whole, self._kept, values):
            vector[kept] = some
        return whole

    def logprob(self, choices: Ints) -> float:
        """Return log P of one architecture, choices (D,) on the restricted table."""
        return math.fsum(float(p[c]) for p, c in zip(self.logp, choices))


def _log_softmax(values: Floats) -> Floats:
    shifted = values - values.max()
    return np.asarray(shifted - np.log(np.exp(shifted).sum()))


class Probability(NamedTuple):
    """The share of the prior that lies in a range: lower <= P(low <= cost <= high) <= upper, up to rounding of float64.

    `value` is the best estimate, equal to both bounds where the result is exact; `below` and `above` are what lies
    beside the range.
    """

    value: float
    lower: float
    upper: float
    below: float
    above: float


@lru_cache(maxsize=16)
def reachable_costs(table: CostTable) -> Ints | None:
    """All costs that architectures have, rising; None where they are too many to list."""
    listed = _list_costs(table, [np.ones(step.cost_OR.shape[1]) for step in table.steps])
    return None if listed is None else listed[0]


def probability_in_range(
    table: CostTable, logp: Sequence[ArrayLike], low: int, high: int, bins: int = MAX_BINS
) -> Probability:
    """P(low <= cost <= high) when decision d takes its candidates with log-probabilities `logp[d]` (n_d,).

    Exact where all costs can be listed (a million architectures, say) or told apart by `bins`; otherwise costs are
    rounded to `bins` values up to `high`. On 60 blocks 1,024 bins take some 50 ms, which will do for a log.
    """
    prior = TablePrior(table, logp)
    (smallest, _), (largest, _) = prior.table.smallest(), prior.table.largest()
    if high < smallest or low > high:
        return Probability(0.0, 0.0, 0.0, 0.0, 1.0)
    if low > largest:
        return Probability(0.0, 0.0, 0.0, 1.0, 0.0)
    masses = [np.exp(w) for w in prior.weights]
    if reachable_costs(prior.table) is None:
        return _binned(prior, masses, max(low, smallest), min(high, largest), bins)
    listed = _list_costs(prior.table, masses)
    assert listed is not None
    costs, mass = listed
    value = min(1.0, float(mass[(costs >= low) & (costs <= high)].sum()))
    return Probability(value, value, value, float(mass[costs < low].sum()), float(mass[costs > high].sum()))


def _list_costs(table: CostTable, masses: list[Floats]) -> tuple[Ints, Floats] | None:
    """Reachable costs, and the mass of each when step i multiplies with `masses[i]` (R,); None where too many."""
    most = _SMALL if math.prod(table.sizes) <= _SMALL else _MOST
    state, cost = np.zeros(1, np.int64), np.array([table.constant], np.int64)
    mass: Floats = np.ones(1)
    for step, mass_R in zip(table.steps, masses):
        if len(state) * len(mass_R) > most:
            return None
        old, other = np.divmod(state, len(step.carry))
        after = (step.bases[step.kept_OR[old]] + step.carry[other][:, None]).ravel()
        cost = (cost[:, None] + step.cost_OR[old]).ravel()
        lowest, states = int(cost.min()), int(after.max()) + 1
        key, which = np.unique((cost - lowest) * states + after, return_inverse=True)
        mass = np.bincount(which.ravel(), (mass[:, None] * mass_R).ravel()).astype(np.float64)
        cost, state = np.divmod(key, states)
        cost += lowest
    return cost, mass


def _binned(prior: TablePrior, masses: list[Floats], low: int, high: int, bins: int) -> Probability:
    """Bound the probability by bins; the range lies within the reachable span."""
    grid = grid_for(prior.table, prior.table.smallest()[0], high, bins)
    (first, last), (inner_first, inner_last) = grid.window(low, high), grid.inner_window(low, high)
    mass = grid.solve(masses, SUM, 0, last)[0].values_SB[0]
    upper, lower = float(mass[first:].sum()), float(mass[inner_first : inner_last + 1].sum())
    below, within = _shares(prior, grid, low, high, np.arange(len(mass)))
    value = float(np.clip(mass @ within, lower, upper))
    under = float(mass @ below)
    return Probability(value, lower, upper, under, max(0.0, 1.0 - under - value))


def _shares(prior: TablePrior, grid: Grid, low: int, high: int, bins: Ints) -> tuple[Floats, Floats]:
    """Return the shares of these bins that lie below the range and in it.

    Where the range ends within a bin, the bin's mass is shared out; and bins stand for costs with a mean error.
    """
    centre = grid.base + grid.error_table.expected([np.exp(p) for p in prior.logp]) + grid.pitch * bins
    unit, (low, high) = prior.table.unit, prior.table.snap(low, high)
    below = np.clip((low - unit / 2 - centre) / grid.pitch + 0.5, 0, 1)
    within = np.clip((high + unit / 2 - centre) / grid.pitch + 0.5, 0, 1) - below
    return below, within


class Posterior(NamedTuple):
    """log P(in range), and of every decision the probability of each candidate given the range, (n_d,)."""

    log_probability: float
    marginals: list[Floats]


def posterior_in_range(
    table: CostTable, logp: Sequence[ArrayLike], low: int, high: int, bins: int = MAX_BINS
) -> Posterior:
    """log P(low <= cost <= high) and the prior's marginals given the range, which are its gradient.

    d log P / d log p_dc = P(d = c | in range), the other log-probabilities held; for logits that a softmax makes
    probabilities of, it is P(d = c | in range) - p_dc. Costs are rounded to `bins` values up to `high`: exact where
    these tell them apart. A range without mass, also where P is less than the smallest float64, has -inf and the prior.
    """
    prior = TablePrior(table, logp)
    nothing = Posterior(-math.inf, prior.spread([np.exp(p) for p in prior.logp]))
    smallest, largest = prior.table.smallest()[0], prior.table.largest()[0]
    low, high = max(low, smallest), min(high, largest)
    if low > high:
        return nothing
    grid = grid_for(prior.table, smallest, high, bins)
    first, last = grid.window(low, high)
    if first > last:
        return nothing
    weights = [np.exp(w) for w in prior.weights]
    levels = grid.solve(weights, SUM, first, last)
    within = _shares(prior, grid, low, high, np.arange(first, last + 1))[1]
    probability = float(levels[0].values_SB[0] @ within)
    if not probability > 0:
        return nothing
    marginals = [np.zeros(size) for size in prior.table.sizes]
    for step, mass_R in zip(prior.table.steps, grid.outcome_masses(levels, weights, within)):
        for d, values in zip(step.decisions, step.values_RD.T):
            marginals[d] = np.bincount(values, mass_R, len(marginals[d])) / probability
    return Posterior(math.log(probability), prior.spread(marginals))
