"""Draws from a prior conditioned on a range of cost.

Proposals come from the DP over the bins that cover the range, each exactly in proportion to its probability; those
whose exact cost lies outside are dropped. Where next to nothing is left, or nothing new, the search for the best takes
over, with Gumbel-perturbed log-probabilities: their order is that of drawing without replacement (Kool et al.,
"Ancestral Gumbel-Top-k Sampling", JMLR 2020; Maddison et al., "A* Sampling", NeurIPS 2014).
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike

from autovid.errors import CostRangeError
from autovid.solver.binned_dp import LOG_SUM, MAX_BINS, SUM, Algebra, Floats, Level, grid_for, of_old
from autovid.solver.cost_range import CostRange, Ints
from autovid.solver.distribution import TablePrior
from autovid.solver.solve import BestFirstSearch, Rank, check_range, nothing_in
from autovid.solver.table import CostTable

_PATIENCE = 2**14  # proposals per accepted one, some 0.4 s: then searching is quicker
_BATCH = 4096
_LOG_BINS = 4096  # with LOG_SUM
_LISTED = 20_000  # visits for a list of all architectures of a range: 1 s
_UNDERFLOW = 1e-200  # what sums of probabilities may lose is far smaller than this


class Sampler:
    """The DP of one range: levels of log-probabilities over the bins of its window."""

    def __init__(self, prior: TablePrior, asked: CostRange, weights: list[Floats] | None = None) -> None:
        """`weights`, of each outcome of each step, (R,) or (O, R): the prior's own, or others to draw by."""
        self.prior, self._table, self._asked = prior, prior.table, asked
        self._weights = prior.weights if weights is None else weights
        self._range = check_range(self._table, *asked)
        self._solve(None)

    def _solve(self, bins: int | None) -> None:
        self._fine = bins is not None
        self._levels = self._levels_of([np.exp(w) for w in self._weights], SUM, bins)
        if self._levels[0].values_SB.sum() > _UNDERFLOW:
            with np.errstate(divide="ignore"):
                self._levels = [Level(np.log(lv.values_SB, out=lv.values_SB), lv.start) for lv in self._levels]
        else:
            self._fine = True  # as fine as is worth its time
            self._levels = self._levels_of(self._weights, LOG_SUM, _LOG_BINS)
        if not np.isfinite(self._levels[0].values_SB).any():
            raise nothing_in(self._table, *self._asked)

    def _levels_of(self, weights: list[Floats], algebra: Algebra, bins: int | None) -> list[Level]:
        self._grid = grid_for(self._table, *self._range, bins)
        first, last = self._grid.window(*self._range)
        if first > last:
            raise nothing_in(self._table, *self._asked)
        return self._grid.solve(weights, algebra, first, last)

    def _refine(self) -> None:
        """Take the finest grid, where too much of the window lies outside the range."""
        if not self._fine:
            self._solve(MAX_BINS)

    def independent(self, n: int, rng: np.random.Generator) -> Ints:
        drawn = np.zeros((0, len(self._table.sizes)), np.int64)
        for batch in self._accepted(n, rng):
            drawn = np.concatenate([drawn, batch])
            if len(drawn) >= n:
                return drawn[:n]
        return np.concatenate([drawn, self._searched(n - len(drawn), rng)])

    def _searched(self, n: int, rng: np.random.Generator) -> Ints:
        """Independent draws where next to no proposal lies in the range: from the list of all, if that is short."""
        self._refine()
        search, listed = self._best_first(), []
        for choices, _ in search.walk(_perturb(rng)):
            listed.append(choices)
            if search.visited > _LISTED:  # each first one of an order drawn without replacement is a draw
                return np.stack([next(self._best_first().walk(_perturb(rng)))[0] for _ in range(n)])
        if not listed:
            raise nothing_in(self._table, *self._asked)
        logp_N = np.array([self.prior.logprob(choices) for choices in listed])
        weights_N = np.exp(logp_N - logp_N.max())
        return np.stack(listed)[rng.choice(len(listed), n, p=weights_N / weights_N.sum())]

    def distinct(self, n: int, rng: np.random.Generator) -> Ints:
        drawn: dict[bytes, Ints] = {}
        met = 0
        for batch in self._accepted(n, rng):
            met += len(batch)
            drawn.update((choices.tobytes(), choices) for choices in batch if choices.tobytes() not in drawn)
            if len(drawn) >= n or met > 10 * (n + 10):  # mostly repeats
                break
        if len(drawn) < n:
            self._refine()
        search = self._best_first().walk(_perturb(rng))
        while len(drawn) < n:
            choices, _ = next(search, (None, 0))
            if choices is None:
                raise self._too_few(len(drawn), n)
            drawn.setdefault(choices.tobytes(), choices)
        return np.stack(list(drawn.values())[:n]) if n else np.zeros((0, len(self._table.sizes)), np.int64)

    def _too_few(self, number: int, n: int) -> CostRangeError:
        if not number:
            return nothing_in(self._table, *self._asked)
        asked = self._table.quantity.say(*self._asked)
        return CostRangeError(
            f"only {number} architectures have {asked}, {n} distinct ones were asked for; widen the range or ask "
            "for fewer"
        )

    def _best_first(self) -> BestFirstSearch:
        return BestFirstSearch(self._grid, self._levels, self._weights, *self._range)

    def _accepted(self, n: int, rng: np.random.Generator) -> Iterator[Ints]:
        """Batches of draws inside the range, growing, until the caller has enough or too few lie in it."""
        size, proposed, accepted = n + 16, 0, 0
        while proposed < _PATIENCE * (1 + accepted):
            size = min(size, _BATCH)
            choices_ND, cost_N = self._propose(size, rng)
            inside_N = (cost_N >= self._range.low) & (cost_N <= self._range.high)
            yield choices_ND[inside_N]
            proposed, accepted, size = proposed + size, accepted + int(inside_N.sum()), 2 * size
            if proposed > _BATCH and accepted < proposed / 100:
                self._refine()

    def _propose(self, size: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
        """Draw from the prior given that their bins lie in the window: choices (N, D) and exact cost (N,)."""
        root = self._levels[0].values_SB[0]
        mass = np.exp(root - root.max())
        bins_N = self._levels[0].start + rng.choice(len(mass), size, p=mass / mass.sum())
        state_N, cost_N = np.zeros(size, np.int64), np.full(size, self._table.constant)
        choices_ND = np.zeros((size, len(self._table.sizes)), np.int64)
        for i, step in enumerate(self._table.steps):
            old_N, other_N = np.divmod(state_N, len(step.carry))
            after_NR = step.bases[step.kept_OR[old_N]] + step.carry[other_N][:, None]
            rest_NR = bins_N[:, None] - self._grid.bins_OR[i][old_N]
            outcome_N = _pick(of_old(self._weights[i], old_N) + self._levels[i + 1].at(after_NR, rest_NR, -np.inf), rng)
            rows = np.arange(size)
            state_N, bins_N = after_NR[rows, outcome_N], rest_NR[rows, outcome_N]
            cost_N += step.cost_OR[old_N, outcome_N]
            choices_ND[:, step.decisions] = step.values_RD[outcome_N]
        return choices_ND, cost_N


def sample_in_range(
    table: CostTable,
    logp: Sequence[ArrayLike],
    low: int,
    high: int,
    n: int,
    rng: np.random.Generator,
    distinct: bool = False,
) -> Ints:
    """`n` architectures, choices (n, D), drawn from the prior given low <= cost <= high.

    `distinct`: drawn without replacement. Equal seeds give equal draws.

    Raises:
        CostRangeError: no architecture lies in the range, or fewer than `n` distinct ones; or none is found in
            reasonable time, which takes a range far narrower than the rounding of costs to bins.
    """
    sampler = Sampler(TablePrior(table, logp), CostRange(low, high))
    drawn = sampler.distinct(n, rng) if distinct else sampler.independent(n, rng)
    return sampler.prior.original(drawn)


def _perturb(rng: np.random.Generator) -> Rank:
    """Gumbel noise on log-probabilities, such that the best child is as good as its parent."""

    def rank(scores: Floats, parent: float) -> Floats:
        noisy = scores + rng.gumbel(size=len(scores))
        if parent == np.inf:
            return noisy
        with np.errstate(divide="ignore"):
            v = parent - noisy + np.log(-np.expm1(noisy - noisy.max()))
        return np.asarray(parent - np.maximum(0, v) - np.log1p(np.exp(-np.abs(v))))

    return rank


def _pick(logp_NR: Floats, rng: np.random.Generator) -> Ints:
    """One column for each row, with probability proportional to exp(logp_NR)."""
    sums_NR = np.exp(logp_NR - logp_NR.max(axis=1, keepdims=True)).cumsum(axis=1)
    level_N1 = (1 - rng.random((len(sums_NR), 1))) * sums_NR[:, -1:]  # in (0, sum]: never an impossible column
    return np.asarray((sums_NR < level_N1).sum(axis=1))
