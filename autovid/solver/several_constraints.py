"""Two costs at once: the most probable architecture inside both ranges, and draws from both.

The first range is met exactly by the solvers of one cost; the second cost enters as a price on every outcome. With a
price l, the solver maximises log P(A) - l cost(A), so a larger l leads to a smaller cost, and

    log P(A) <= max_A' [log P(A') - l cost(A')] + l t,    t the end of the second range that the price pushes away from,

bounds what any A inside both can have (Lagrangian relaxation). The price with the smallest bound is found by bisection;
from there architectures come in falling order of the priced score until the bound says that none can be better. Where
none inside both has come in bounded time (many are equally probable, as before a search), draws are searched for it.

For draws, proposals are priced so that they fall into the second range often, and what the price has changed is undone
by rejection, so that they follow the prior given both ranges, whatever the price.
"""

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import ArrayLike, NDArray

from autovid.errors import CostRangeError
from autovid.solver.best_first import SearchTooLongError, best_in_range
from autovid.solver.binned_dp import Floats
from autovid.solver.constrained_sampling import Sampler, sample_in_range
from autovid.solver.cost_range import CostRange
from autovid.solver.elimination import Ints
from autovid.solver.prior import Prior
from autovid.solver.range_check import check_range
from autovid.solver.solve import Solution, most_probable
from autovid.solver.table import CostTable

_ENOUGH = 3_000  # architectures in order of the priced score: some 10 s
_STEPS = 6  # of bisection for the best; each takes some 0.2 s
_TRIALS = 24  # of prices for draws
_BATCH = 256  # draws that a price is tried on
_PATIENCE = 200  # batches without one inside both ranges
_CLOSE = 1e-9  # of log-probabilities that count as equal
_SHARPNESS = (4.0, 1.0, 0.01)  # powers of the prior that probable architectures are drawn by


@dataclass(frozen=True)
class TableConstraint:
    """A cost and the range that it must lie in. Several constraints are over tables of one space."""

    table: CostTable
    range: CostRange

    def inside(self, choices_ND: Ints) -> NDArray[np.bool_]:
        """True for each architecture, (N,), whose cost lies in the range."""
        return self.range.holds(self.table.total(choices_ND))

    def __str__(self) -> str:
        return self.table.quantity.say(*self.range)


def most_probable_within(constraints: Sequence[TableConstraint], logp: Sequence[ArrayLike]) -> Solution:
    """The most probable architecture inside one or two ranges; `cost` is that of the first.

    With two it is proven, but for `gap`: no other one inside both is more than that more probable (its logarithm).

    Raises:
        CostRangeError: there is none, or none is found in bounded time; the message says what is reachable.
    """
    if len(constraints) == 1:
        return most_probable(constraints[0].table, logp, *constraints[0].range)
    return _Pair(constraints, logp).most_probable()


def sample_within(
    constraints: Sequence[TableConstraint],
    logp: Sequence[ArrayLike],
    n: int,
    rng: np.random.Generator,
    distinct: bool = False,
) -> Ints:
    """`n` architectures, choices (n, D), drawn from the prior given one or two ranges. As `sample_in_range`.

    Raises:
        CostRangeError: as above, or fewer than `n` distinct ones are found in bounded time.
    """
    if len(constraints) == 1:
        return sample_in_range(constraints[0].table, logp, *constraints[0].range, n, rng, distinct)
    return _Pair(constraints, logp).sample(n, rng, distinct)


def likely_within(constraints: Sequence[TableConstraint], logp: Sequence[ArrayLike], n: int) -> Ints:
    """Probable architectures inside one or two ranges, in no order: distinct choices (N, D), N at most twice `n`.

    They are drawn, always the same ones, from the prior and from its fourth power; where these find none, almost
    uniformly. With two ranges they are what is found in bounded time, which may be none.
    """
    found = np.zeros((0, len(logp)), np.int64)
    for sharpness in _SHARPNESS:
        if sharpness >= 1 or not len(found):
            powers = [sharpness * np.asarray(x, np.float64) for x in logp]
            with contextlib.suppress(CostRangeError):
                found = np.concatenate([found, _some(constraints, powers, n, np.random.default_rng(0))])
    return np.unique(found, axis=0)


def _some(constraints: Sequence[TableConstraint], logp: Sequence[ArrayLike], n: int, rng: np.random.Generator) -> Ints:
    """At most `n` draws; of two ranges those of _PATIENCE batches."""
    if len(constraints) == 1:
        return sample_in_range(constraints[0].table, logp, *constraints[0].range, n, rng)
    pair = _Pair(constraints, logp)
    drawn = np.zeros((0, len(logp)), np.int64)
    for batch in islice(pair.batches(rng), _PATIENCE):
        drawn = np.concatenate([drawn, batch])
        if len(drawn) >= n:
            break
    return pair.prior.original(drawn[:n])


class _Pair:
    """Two constraints under one prior. `sign` is what the price must have to push towards the second range."""

    def __init__(self, constraints: Sequence[TableConstraint], logp: Sequence[ArrayLike]) -> None:
        first, second = constraints
        self.logp = logp
        self.prior, other = Prior(first.table, logp), Prior(second.table, logp)
        self.table, self.priced, self.constraints = self.prior.table, other.table, (first, second)
        self.range = check_range(self.table, *first.range)
        self.low, self.high = check_range(self.priced, *second.range)
        pairs = zip(self.table.steps, self.priced.steps, strict=True)
        assert all(a.decisions == b.decisions and a.cost_OR.shape == b.cost_OR.shape for a, b in pairs)

    def weights(self, price: float, chance: float = 1.0) -> list[Floats]:
        """Of outcomes, (O, R): `chance` times their log-probability, less the price of their second cost."""
        pairs = zip(self.prior.weights, self.priced.steps)
        return [chance * weight - price * (step.cost_OR - step.cost_OR.min()) for weight, step in pairs]

    def outside(self, choices: Ints) -> int:
        """-1 where the second cost is below its range, 1 above, 0 inside."""
        cost = self.second(choices)
        return int(cost > self.high) - int(cost < self.low)

    def second(self, choices: Ints) -> int:
        return int(self.priced.total(choices[None])[0])

    def best(self, price: float, chance: float = 1.0) -> Ints:
        """The architecture of the first range with the best priced score. Raises CostRangeError where there is none."""
        found = next(best_in_range(self.table, self.weights(price, chance), *self.range), None)
        if found is None:  # the error of the one range says what is near
            return most_probable(self.table, self.prior.logp, *self.range).choices
        return found[0]

    def check(self, sign: int) -> None:
        """Raises CostRangeError where even the extreme of the second cost does not reach its range."""
        extreme = self.best(float(sign), chance=0.0)
        if self.outside(extreme) == sign:
            first, second = self.constraints
            says = self.priced.quantity
            raise CostRangeError(
                f"no architecture has both {first} and {second}: with {first} the {says.what} reaches "
                f"{'down' if sign > 0 else 'up'} to {says.text(self.second(extreme), digits=5)} {says.unit}"
            )

    # -- the most probable

    def most_probable(self) -> Solution:
        plain = self.best(0.0)
        sign = self.outside(plain)
        if sign == 0:
            return self._solution(plain, 0.0)
        self.check(sign)
        price = self._price(sign)
        return self._walk(price)

    def _price(self, sign: int) -> float:
        """The price at which the best architecture comes across the near end of the second range."""
        low, high = 0.0, sign / max(1.0, float(self.priced.largest()[0] - self.priced.smallest()[0]))
        while self.outside(self.best(high)) == sign and abs(high) < 1e6:
            low, high = high, 4 * high
        for _ in range(_STEPS):
            middle = (low + high) / 2
            if self.outside(self.best(middle)) == sign:
                low = middle
            else:
                high = middle
        return high

    def _walk(self, price: float) -> Solution:
        """Falling priced scores until none to come can be better than the best inside both ranges."""
        room = max(price * self.low, price * self.high)
        found, best, bound, end = None, -math.inf, math.inf, False
        walk = _in_time(best_in_range(self.table, self.weights(price), *self.range))
        while best < bound - _CLOSE:
            choices, end = next(walk)
            if choices is None:
                bound = best if end else bound
                break
            logprob = self.prior.logprob(choices)
            bound = logprob - price * self.second(choices) + room
            if self.outside(choices) == 0 and logprob > best:
                found, best = choices, logprob
        if found is None and end:
            raise self._none()
        return self._drawn(bound) if found is None else self._solution(found, max(0.0, bound - best))

    def _drawn(self, bound: float) -> Solution:
        """The most probable of some draws."""
        rows = likely_within(self.constraints, self.logp, _BATCH)
        if not len(rows):
            raise self._none()
        logp = [x - np.logaddexp.reduce(x) for x in (np.asarray(x, np.float64) for x in self.logp)]
        logprob_N = np.sum([x[column] for x, column in zip(logp, rows.T)], axis=0)
        best = int(logprob_N.argmax())
        logprob = float(logprob_N[best])
        cost = int(self.constraints[0].table.total(rows[[best]])[0])
        return Solution(rows[best], logprob, cost, max(0.0, bound - logprob))

    def _solution(self, choices: Ints, gap: float) -> Solution:
        cost = int(self.table.total(choices[None])[0])
        return Solution(self.prior.original(choices), self.prior.logprob(choices), cost, gap if gap > _CLOSE else 0.0)

    def _none(self, found: int = 0, wanted: int = 1) -> CostRangeError:
        first, second = self.constraints
        says = self.priced.quantity
        ends = " to ".join(says.text(self.second(self.best(sign, chance=0.0)), digits=5) for sign in (1.0, -1.0))
        many = f"only {found} of {wanted} architectures" if found else "no architecture"
        return CostRangeError(
            f"{many} with both {first} and {second} found in bounded time; with {first} the {says.what} goes from "
            f"{ends} {says.unit}: widen a range"
        )

    # -- draws

    def sample(self, n: int, rng: np.random.Generator, distinct: bool) -> Ints:
        batches = self.batches(rng)
        drawn: list[Ints] = []
        met: set[bytes] = set()
        idle = 0
        while len(drawn) < n:
            before = len(drawn)
            for row in next(batches):
                if not (distinct and row.tobytes() in met):
                    drawn.append(row)
                met.add(row.tobytes())
            idle = idle + 1 if len(drawn) == before else 0
            if idle > _PATIENCE:
                raise self._none(len(drawn), n)
        return self.prior.original(np.stack(drawn[:n])) if n else np.zeros((0, len(self.table.sizes)), np.int64)

    def batches(self, rng: np.random.Generator) -> Iterator[Ints]:
        """Draws without end, choices (N, D) on the restricted table; N is often 0 where a range is narrow.

        Raises CostRangeError where nothing can be inside both.
        """
        for sign in (1, -1):
            self.check(sign)
        price, sampler = self._proposals(rng)
        while True:
            yield self._accepted(price, sampler, rng)

    def _accepted(self, price: float, sampler: Sampler, rng: np.random.Generator) -> Ints:
        """What is left of a batch of proposals once what the price has changed is undone."""
        rows = sampler.independent(_BATCH, rng)
        costs = self.priced.total(rows)
        inside = (costs >= self.low) & (costs <= self.high)
        most = max(price * self.low, price * self.high)
        return np.asarray(rows[inside & (np.log(1 - rng.random(len(rows))) <= price * costs - most)])

    def _proposals(self, rng: np.random.Generator) -> tuple[float, Sampler]:
        """A price whose draws often lie in the second range, or next to it, and a sampler with it."""
        sampler = self._sampler(0.0)
        first = self._side(sampler, rng)
        low, high = 0.0, first / max(1.0, float(self.priced.largest()[0] - self.priced.smallest()[0]))
        crossed, side = False, first
        for _ in range(_TRIALS):
            if side == 0:
                break
            price = (low + high) / 2 if crossed else high
            sampler = self._sampler(price)
            side = self._side(sampler, rng)
            if side == first:  # not far enough
                low, high = price, high if crossed else 4 * price
            else:
                crossed, high = True, price
        return (0.0 if first == 0 else price), sampler

    def _sampler(self, price: float) -> Sampler:
        return Sampler(self.prior, self.range, self.weights(price) if price else None)

    def _side(self, sampler: Sampler, rng: np.random.Generator) -> int:
        """On which side of the second range most draws lie; 0 where enough of them lie inside."""
        costs = self.priced.total(sampler.independent(_BATCH, rng))
        if ((costs >= self.low) & (costs <= self.high)).mean() > 0.1:
            return 0
        return 1 if np.median(costs) > (self.low + self.high) / 2 else -1


def _in_time(found: Iterator[tuple[Ints, int]]) -> Iterator[tuple[Ints | None, bool]]:
    """The choices that come in bounded time; then None, and whether these were all."""
    end = False
    try:
        number = 0
        for choices, _ in islice(found, _ENOUGH):
            number += 1
            yield choices, False
        end = number < _ENOUGH
    except SearchTooLongError:
        pass
    yield None, end
