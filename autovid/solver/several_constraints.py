"""Several costs at once: the most probable architecture inside all ranges, and draws from them.

The first range is met exactly by the solvers of one cost; every other cost enters as a price on every outcome. With
prices l_i the solver maximises log P(A) - sum_i l_i cost_i(A), so a larger l_i leads to a smaller cost_i, and

    log P(A) <= max_A' [log P(A') - sum_i l_i cost_i(A')] + sum_i l_i t_i,    t_i the end that l_i pushes away from,

bounds what any A inside all ranges can have, whatever the prices (Lagrangian relaxation). The maximum comes from one
dynamic programme over bins, prices from a bisection for each cost in turn: with two costs that gives the smallest
bound, with more a good one. From there architectures come in falling order of the priced score until the bound says
that none can be better. Where none inside has come in bounded time (many are equally probable, as before a search),
draws are searched for it. Their proposals are priced so that they fall into the other ranges often, and what the prices
have changed is undone by rejection, so that they follow the prior given all ranges, whatever the prices.
"""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from itertools import islice, product

import numpy as np
from numpy.typing import ArrayLike

from autovid.errors import CostRangeError
from autovid.solver.binned_dp import MAX, Floats, grid_for
from autovid.solver.constrained_sampling import Sampler, sample_in_range
from autovid.solver.cost_range import UNLIMITED, Ints
from autovid.solver.distribution import TablePrior
from autovid.solver.solve import (
    BestFirstSearch,
    SearchTooLongError,
    Solution,
    best_in_range,
    check_range,
    most_probable,
    nothing_in,
)
from autovid.solver.table import TableConstraint, aligned

_ENOUGH = 3_000  # architectures in order of the priced score: some 10 s
_QUICK = 10_000  # visits of the search for an extreme: some 0.5 s
_BISECTIONS = 6  # for the best; each takes some 0.2 s
_TRIALS = 16  # of bisection for draws
_ROUNDS = 2  # over the prices of several costs
_BATCH = 256  # draws that prices are tried on
_PATIENCE = 200  # batches without one inside all ranges
_CLOSE = 1e-9  # of log-probabilities that count as equal
Side = Callable[[Floats, int], int]  # of the i-th other cost at prices (M,), see _Several
_SHARPNESS = (4.0, 1.0, 0.01)  # powers of the prior that probable architectures are drawn by


def most_probable_within(constraints: Sequence[TableConstraint], logp: Sequence[ArrayLike]) -> Solution:
    """Return the most probable architecture inside all ranges; `cost` is that of the first constraint.

    With several it is proven, but for `gap`: no other one inside is more than that more probable (its logarithm).

    Raises:
        CostRangeError: there is none, or none is found in bounded time; the message says what is reachable.
    """
    if len(constraints) == 1:
        return most_probable(constraints[0].table, logp, *constraints[0].range)
    return _Several(constraints, logp).most_probable()


def sample_within(
    constraints: Sequence[TableConstraint],
    logp: Sequence[ArrayLike],
    n: int,
    rng: np.random.Generator,
    distinct: bool = False,
) -> Ints:
    """`n` architectures, choices (n, D), drawn from the prior given all ranges. As `sample_in_range`.

    Raises:
        CostRangeError: as above, or fewer than `n` distinct ones are found in bounded time.
    """
    if len(constraints) == 1:
        return sample_in_range(constraints[0].table, logp, *constraints[0].range, n, rng, distinct)
    several = _Several(constraints, logp)
    rows = several.draw(n, rng, distinct)
    if len(rows) < n:
        raise several.none_found(len(rows), n)
    return rows


def likely_within(constraints: Sequence[TableConstraint], logp: Sequence[ArrayLike], n: int) -> Ints:
    """Probable architectures inside all ranges, in no order: distinct choices (N, D), N at most twice `n`.

    They are drawn, always the same ones, from the prior and from its fourth power; where these find none, almost
    uniformly. With several ranges they are those found in bounded time, perhaps none.
    """
    rows = np.zeros((0, len(logp)), np.int64)
    for sharpness in _SHARPNESS:
        if sharpness >= 1 or not len(rows):
            powers = [sharpness * np.asarray(x, np.float64) for x in logp]
            with contextlib.suppress(CostRangeError):
                rows = np.concatenate([rows, _some(constraints, powers, n, np.random.default_rng(0))])
    return np.unique(rows, axis=0)


def _some(constraints: Sequence[TableConstraint], logp: Sequence[ArrayLike], n: int, rng: np.random.Generator) -> Ints:
    """At most `n` draws; of several ranges those of _PATIENCE batches."""
    if len(constraints) == 1:
        return sample_in_range(constraints[0].table, logp, *constraints[0].range, n, rng)
    return _Several(constraints, logp).draw(n, rng, batches=_PATIENCE)


class _Several:
    """Constraints under one prior: the first one exact, the others (M) priced; all tables are restricted to it.

    A side is -1 where a cost is below its range, 1 above, 0 inside; it is the sign of the price that pushes back.
    """

    def __init__(self, constraints: Sequence[TableConstraint], logp: Sequence[ArrayLike]) -> None:
        self.constraints, self.logp = constraints, logp
        tables = aligned([constraint.table for constraint in constraints])
        self.prior = TablePrior(tables[0], logp)
        self.table, self.priced = self.prior.table, [TablePrior(table, logp).table for table in tables[1:]]
        self.range = check_range(self.table, *constraints[0].range)
        self.grid = grid_for(self.table, *self.range)
        self.window = self.grid.window(*self.range)
        if self.window[0] > self.window[1]:
            raise nothing_in(self.table, *constraints[0].range)
        ends = [check_range(table, *c.range) for table, c in zip(self.priced, constraints[1:])]
        self.low_M, self.high_M = np.array(ends, np.int64).T
        self.base_M = np.array([t.constant + sum(int(s.cost_OR.min()) for s in t.steps) for t in self.priced])
        self.spans_M = [max(1.0, float(table.largest()[0] - table.smallest()[0])) for table in self.priced]

    def weights(self, prices_M: Floats, chance: float = 1.0) -> list[Floats]:
        """Weigh outcomes, (O, R): `chance` times their log-probability, less the prices of their other costs."""
        weights = [chance * weight for weight in self.prior.weights]
        for price, table in zip(prices_M.tolist(), self.priced):
            weights = [w - price * (step.cost_OR - step.cost_OR.min()) for w, step in zip(weights, table.steps)]
        return weights

    def costs(self, rows_ND: Ints) -> Ints:
        """Return the other costs, (N, M)."""
        return np.stack([table.total(rows_ND) for table in self.priced], axis=1)

    def sides(self, choices: Ints) -> Ints:
        """Return the side of each other cost of one architecture, (M,)."""
        costs_M = self.costs(choices[None])[0]
        return np.asarray((costs_M > self.high_M).astype(np.int64) - (costs_M < self.low_M))

    def best(self, prices_M: Floats, chance: float = 1.0) -> tuple[Ints, float]:
        """Return the architecture with the best priced score, and that score: a bound for all of the first range.

        It is the best of those that lie in the first range or, because costs are in bins, just beside it.
        Raises CostRangeError where there is none.
        """
        weights = self.weights(prices_M, chance)
        levels = self.grid.solve(weights, MAX, *self.window)
        best = next(BestFirstSearch(self.grid, levels, weights, -UNLIMITED, UNLIMITED).walk(), None)
        if best is None:
            raise CostRangeError(f"no architecture lies inside {self.constraints[0]}")
        choices, _ = best
        return choices, float(levels[0].values_SB.max())

    def extreme(self, i: int, sign: int) -> Ints:
        """Return the architecture of the first range with the least (sign 1) or the most of another cost."""
        return self.best(float(sign) * np.eye(len(self.priced))[i], chance=0.0)[0]

    def check(self, exactly: bool = False) -> None:
        """Raise CostRangeError where even the extreme of another cost does not reach its range.

        Costs are in bins, so that what lies just beside the first range counts; not `exactly`, where that is quick.
        """
        for i, sign in product(range(len(self.priced)), (1, -1)):
            extreme = self._exact_extreme(i, sign) if exactly else self.extreme(i, sign)
            if extreme is not None and self.sides(extreme)[i] == sign:
                first, other, says = self.constraints[0], self.constraints[i + 1], self.priced[i].quantity
                raise CostRangeError(
                    f"no architecture has both {first} and {other}: with {first} the {says.what} reaches "
                    f"{'down' if sign > 0 else 'up'} to {self._text(i, extreme)} {says.unit}"
                )

    def _exact_extreme(self, i: int, sign: int) -> Ints | None:
        """Return an extreme as `extreme` does, but exactly inside the first range; None where that takes too long."""
        weights = self.weights(float(sign) * np.eye(len(self.priced))[i], chance=0.0)
        with contextlib.suppress(SearchTooLongError):
            return next(best_in_range(self.table, weights, *self.range, visits=_QUICK), (None, 0))[0]
        return None

    def none_found(self, number: int = 0, asked_for: int = 1) -> CostRangeError:
        """Return the error for ranges that hold too few architectures, or too few that are found."""
        first, *others = self.constraints
        spans = []
        for i, table in enumerate(self.priced):
            least, most = (self._text(i, self.extreme(i, sign)) for sign in (1, -1))
            spans.append(f"the {table.quantity.what} goes from {least} to {most} {table.quantity.unit}")
        many = f"only {number} of {asked_for} architectures" if number else "no architecture"
        all_of = f"{'both ' if len(others) == 1 else ''}{', '.join(map(str, [first, *others[:-1]]))} and {others[-1]}"
        return CostRangeError(
            f"{many} with {all_of} found in bounded time; with {first} {' and '.join(spans)}: widen a range"
        )

    def _text(self, i: int, choices: Ints) -> str:
        return self.priced[i].quantity.text(int(self.costs(choices[None])[0, i]), digits=5)

    def crossed(self, i: int, prices_M: Floats, side: Side, trials: int, stop: bool) -> Floats:
        """Prices with another i-th one, so that `side` of them is no longer what it was, but only just.

        `stop` at the first that brings the cost inside.
        """
        first, unit_M = side(prices_M, i), np.eye(len(prices_M))[i]
        if first == 0:
            return prices_M
        low, high = 0.0, first / self.spans_M[i]  # beside the old price
        while (now := side(prices_M + high * unit_M, i)) == first and abs(high) < 1e6:
            low, high = high, 4 * high
        for _ in range(trials):
            if stop and now == 0:
                break
            middle = (low + high) / 2
            now = side(prices_M + middle * unit_M, i)
            low, high = (middle, high) if now == first else (low, middle)
        return np.asarray(prices_M + high * unit_M)

    def prices(self, side: Side, trials: int, stop: bool) -> Floats:
        """Prices (M,) at which the `side` of each other cost has just crossed the near end of its range, in turn."""
        prices_M = np.zeros(len(self.priced))
        for i in list(range(len(prices_M))) * (_ROUNDS if len(prices_M) > 1 else 1):
            prices_M = self.crossed(i, prices_M, side, trials, stop)
        return prices_M

    # -- the most probable

    def most_probable(self) -> Solution:
        plain, empty = next(_in_time(best_in_range(self.table, self.prior.weights, *self.range)))
        if empty:
            raise nothing_in(self.table, *self.constraints[0].range)
        if plain is not None and not self.sides(plain).any():
            return self._solution(plain, 0.0)
        self.check()
        self.check(exactly=True)
        return self._walk(self.prices(lambda p, i: int(self.sides(self.best(p)[0])[i]), _BISECTIONS, stop=False))

    def _walk(self, prices_M: Floats) -> Solution:
        """Falling priced scores until none to come can be better than the best inside all ranges."""
        most = float(np.maximum(prices_M * self.low_M, prices_M * self.high_M).sum())
        solution, best, end = None, -math.inf, False
        bound = self.best(prices_M)[1] - float(prices_M @ self.base_M) + most
        walk = _in_time(best_in_range(self.table, self.weights(prices_M), *self.range))
        while best < bound - _CLOSE:
            choices, end = next(walk)
            if choices is None:
                bound = best if end else bound
                break
            logprob = self.prior.logprob(choices)
            bound = min(bound, logprob - float(prices_M @ self.costs(choices[None])[0]) + most)
            if not self.sides(choices).any() and logprob > best:
                solution, best = choices, logprob
        if solution is None and end:
            raise self.none_found()
        return self._drawn(bound) if solution is None else self._solution(solution, max(0.0, bound - best))

    def _drawn(self, bound: float) -> Solution:
        """Return the most probable of some draws."""
        rows = likely_within(self.constraints, self.logp, _BATCH)
        if not len(rows):
            raise self.none_found()
        logp = [x - np.logaddexp.reduce(x) for x in (np.asarray(x, np.float64) for x in self.logp)]
        logprob_N = np.sum([x[column] for x, column in zip(logp, rows.T)], axis=0)
        best = int(logprob_N.argmax())
        logprob = float(logprob_N[best])
        cost = int(self.constraints[0].table.total(rows[[best]])[0])
        return Solution(rows[best], logprob, cost, max(0.0, bound - logprob))

    def _solution(self, choices: Ints, gap: float) -> Solution:
        cost = int(self.table.total(choices[None])[0])
        return Solution(self.prior.original(choices), self.prior.logprob(choices), cost, gap if gap > _CLOSE else 0.0)

    # -- draws

    def draw(self, n: int, rng: np.random.Generator, distinct: bool = False, batches: int | None = None) -> Ints:
        """Up to `n` draws (N, D), fewer where _PATIENCE batches bring no new one, or from so many `batches`."""
        drawn: dict[object, Ints] = {}
        idle = 0
        for batch in islice(self.batches(rng), batches):
            before = len(drawn)
            for row in batch:
                drawn.setdefault(row.tobytes() if distinct else len(drawn), row)
            idle = idle + 1 if len(drawn) == before else 0
            if not drawn and idle == 1:  # before long patience
                self.check(exactly=True)
            if len(drawn) >= n or idle > _PATIENCE:
                break
        rows = np.array([*drawn.values()][:n], np.int64).reshape(-1, len(self.table.sizes))
        return self.prior.original(rows)

    def batches(self, rng: np.random.Generator) -> Iterator[Ints]:
        """Draws without end, choices (N, D) on the restricted table; N is often 0 where a range is narrow.

        Raises CostRangeError where nothing can be inside all.
        """
        self.check()
        prices_M = self.prices(lambda p, i: self._side(i, self._sampler(p), rng), _TRIALS, stop=True)
        sampler = self._sampler(prices_M)
        while True:
            yield self._accepted(prices_M, sampler, rng)

    def _accepted(self, prices_M: Floats, sampler: Sampler, rng: np.random.Generator) -> Ints:
        """Return a batch of proposals less those that the prices have made too frequent."""
        rows = sampler.independent(_BATCH, rng)
        costs_NM = self.costs(rows)
        inside = ((costs_NM >= self.low_M) & (costs_NM <= self.high_M)).all(axis=1)
        most = np.maximum(prices_M * self.low_M, prices_M * self.high_M).sum()
        return np.asarray(rows[inside & (np.log(1 - rng.random(len(rows))) <= costs_NM @ prices_M - most)])

    def _sampler(self, prices_M: Floats) -> Sampler:
        return Sampler(self.prior, self.range, self.weights(prices_M) if prices_M.any() else None)

    def _side(self, i: int, sampler: Sampler, rng: np.random.Generator) -> int:
        """Return the side of another cost that most draws lie on; 0 where enough of them lie inside."""
        costs = self.costs(sampler.independent(_BATCH, rng))[:, i]
        if ((costs >= self.low_M[i]) & (costs <= self.high_M[i])).mean() > 0.1:
            return 0
        return 1 if np.median(costs) > (self.low_M[i] + self.high_M[i]) / 2 else -1


def _in_time(architectures: Iterator[tuple[Ints, int]]) -> Iterator[tuple[Ints | None, bool]]:
    """Yield the choices that come in bounded time; then None, and whether these were all."""
    end = False
    try:
        number = 0
        for choices, _ in islice(architectures, _ENOUGH):
            number += 1
            yield choices, False
        end = number < _ENOUGH
    except SearchTooLongError:
        pass
    yield None, end
