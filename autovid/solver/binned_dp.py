"""Dynamic programming over cost: how well, or how probably, the rest of a network can be chosen for a given cost.

Costs are rounded to the nearest multiple of `pitch` factor by factor, so that an architecture's cost becomes a whole
number of bins: the convolution of the factors' outcomes, one step of the plan after the other, counts them all at
once. The rounding error of a sum is bounded, so a window of bins can be named that holds every architecture of a range
(and some beside it): whoever uses it rechecks exact costs.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from autovid.errors import ConfigError
from autovid.solver.cost_range import Ints
from autovid.solver.table import CostTable, Factor, Step

MAX_BINS = 16_384
MIN_BINS = 1_024  # fewer would save nothing
MEMORY = 160 * 2**20  # bytes of the levels of one DP
Floats = NDArray[np.float64]


class Algebra(NamedTuple):
    """A way to chain and to gather the weights of outcomes: sums of probabilities, or the best log-probability."""

    zero: float
    one: float
    chain: np.ufunc
    gather: np.ufunc


SUM = Algebra(0.0, 1.0, np.multiply, np.add)  # underflows below 1e-308; ten times as fast as LOG_SUM
LOG_SUM = Algebra(-np.inf, 0.0, np.add, np.logaddexp)
MAX = Algebra(-np.inf, 0.0, np.add, np.maximum)


class Level(NamedTuple):
    """Before a step: by state (S) and by the bins that the steps to come must add up to (B, from `start`)."""

    values_SB: Floats
    start: int

    @property
    def end(self) -> int:
        return self.start + int(self.values_SB.shape[1])

    def at(self, states: Ints, bins: Ints, outside: float) -> Floats:
        """`values_SB` at these states and bins, `outside` where the band of bins ends."""
        column, width = bins - self.start, self.values_SB.shape[1]
        values = self.values_SB.take(states * width + column, mode="clip")
        return np.where((column >= 0) & (column < width), values, outside)


class Ahead(NamedTuple):
    """The steps from one on: they cost base + pitch * bins + error, least <= error <= most."""

    base: int
    least: int
    most: int


@dataclass(frozen=True)
class Move:
    """The moves for one value of `old`: the outcomes of a step that lead to the same base and bins, merged."""

    order: Ints  # outcomes, the merged ones side by side
    starts: Ints
    kept: list[int]
    bins: list[int]


class Grid:
    """The steps of a table with costs in bins: cost = base + pitch * bins + error, errors[0] <= error <= errors[1]."""

    def __init__(self, table: CostTable, pitch: int) -> None:
        self.table = table
        self.pitch = pitch
        lows = [int(step.cost_OR.min()) for step in table.steps]
        self.bins_OR = [(step.cost_OR - low + pitch // 2) // pitch for step, low in zip(table.steps, lows)]
        errors = [s.cost_OR - low - pitch * b for s, low, b in zip(table.steps, lows, self.bins_OR)]
        self.ahead = [Ahead(0, 0, 0)]
        for low, error in zip(reversed(lows), reversed(errors)):
            base, least, most = self.ahead[-1]
            self.ahead.append(Ahead(base + low, least + int(error.min()), most + int(error.max())))
        self.ahead.reverse()
        self.base, self.errors = table.constant + self.ahead[0].base, self.ahead[0][1:]
        most_bins = np.cumsum([0, *(int(bins.max()) for bins in self.bins_OR)])
        self.most_bins = [int(r) for r in most_bins]  # most bins that the steps before can use
        self._moves = [_moves(step, bins) for step, bins in zip(table.steps, self.bins_OR)]

    def window(self, low: int, high: int) -> tuple[int, int]:
        """First and last bin that an architecture with low <= cost <= high can fall into; first > last: none."""
        first = -((self.base + self.errors[1] - low) // self.pitch)
        last = (high - self.base - self.errors[0]) // self.pitch
        return max(first, 0), min(last, self.most_bins[-1])

    @cached_property
    def error_table(self) -> CostTable:
        """The rounding errors, as the costs of a table of their own."""
        errors = []
        for factor in self.table.factors:
            table = factor.table - factor.table.min()
            errors.append(Factor(factor.scope, table - (table + self.pitch // 2) // self.pitch * self.pitch))
        return CostTable(errors, 0, self.table.sizes)

    def inner_window(self, low: int, high: int) -> tuple[int, int]:
        """First and last bin whose architectures all have low <= cost <= high; first > last: none."""
        first = -((self.base + self.errors[0] - low) // self.pitch)
        last = (high - self.base - self.errors[1]) // self.pitch
        return max(first, 0), min(last, self.most_bins[-1])

    def solve(self, weights: list[Floats], algebra: Algebra, first: int, last: int) -> list[Level]:
        """Return a level before each step and after the last, kept only where bins `first`..`last` can still come out.

        `weights[i]` (R,) or (O, R): weight of each outcome of step i, whatever the state or for each value of `old`.
        """
        assert 0 <= first <= last <= self.most_bins[-1]
        pull = self._pull_log if algebra is LOG_SUM else self._pull
        level = Level(np.full((1, 1), algebra.one), 0)
        levels = [level]
        for i in reversed(range(len(weights))):
            start, end = max(0, first - self.most_bins[i]), min(self.most_bins[-1] - self.most_bins[i], last) + 1
            level = Level(pull(i, level, weights[i], algebra, start, end).reshape(-1, end - start), start)
            levels.append(level)
        return levels[::-1]

    def outcome_masses(self, levels: list[Level], weights: list[Floats], root_B: Floats) -> list[Floats]:
        """Return the mass (R,) of each outcome of each step: its share of the product `root_B` @ the first level.

        `levels` are those of `solve` with SUM and the same weights, (R,) for each step; `root_B` weighs the bins of the
        first one. A mass is the weight of an outcome times the derivative of that product by it (reverse accumulation).
        """
        before_SB, masses = root_B[None], []
        for i, weights_R in enumerate(weights):
            mass_R, before_SB = self._push(i, levels[i].start, levels[i + 1], weights_R, before_SB)
            masses.append(mass_R)
        return masses

    def _push(self, i: int, start: int, after: Level, weights_R: Floats, before_SB: Floats) -> tuple[Floats, Floats]:
        """Return the masses of step i's outcomes, and the derivative by the level after it from the one before."""
        step, mass_R = self.table.steps[i], np.zeros(len(weights_R))
        states_KX = step.bases[:, None] + step.carry
        rows_KXB = after.values_SB[states_KX]
        passed_KXB, end = np.zeros(rows_KXB.shape), start + before_SB.shape[1]
        for values_XB, move in zip(before_SB.reshape(len(step.cost_OR), len(step.carry), -1), self._moves[i]):
            ordered = weights_R[move.order]
            products = np.zeros(len(move.starts))
            for m, (kept, bins, weight) in enumerate(
                zip(move.kept, move.bins, np.add.reduceat(ordered, move.starts).tolist())
            ):
                low, high = max(start, after.start + bins), min(end, after.end + bins)
                if low < high:
                    values = values_XB[:, low - start : high - start]
                    columns = slice(low - bins - after.start, high - bins - after.start)
                    products[m] = np.einsum("xb,xb->", values, rows_KXB[kept, :, columns])
                    passed_KXB[kept, :, columns] += weight * values
            mass_R[move.order] += ordered * np.repeat(products, np.diff(move.starts, append=len(ordered)))
        after_SB = np.zeros(after.values_SB.shape)
        after_SB[states_KX] = passed_KXB  # every state comes from one base and one carry
        return mass_R, after_SB

    def _pull(self, i: int, after: Level, weights: Floats, algebra: Algebra, start: int, end: int) -> Floats:
        """Return the level before step i, (O, X, B), from the level after it."""
        step = self.table.steps[i]
        out_OXB = np.full((len(step.cost_OR), len(step.carry), end - start), algebra.zero)
        buffer = np.empty(out_OXB.shape[1:])
        for old, columns, source, weight in self._overlaps(i, after, weights, algebra, start, end):
            chained = algebra.chain(source, weight, out=buffer[:, : source.shape[1]])
            target = out_OXB[old][:, columns]
            algebra.gather(target, chained, out=target)
        return out_OXB

    def _pull_log(self, i: int, after: Level, weights: Floats, algebra: Algebra, start: int, end: int) -> Floats:
        """Do the same for LOG_SUM, by exponentials relative to the largest term: four times as fast as np.logaddexp."""
        peak_OXB = self._pull(i, after, weights, MAX, start, end)
        peak_OXB[np.isneginf(peak_OXB)] = 0.0
        out_OXB = np.zeros(peak_OXB.shape)
        for old, columns, source, weight in self._overlaps(i, after, weights, algebra, start, end):
            out_OXB[old][:, columns] += np.exp(source + weight - peak_OXB[old][:, columns])
        with np.errstate(divide="ignore"):
            return peak_OXB + np.log(out_OXB)

    def _overlaps(
        self, i: int, after: Level, weights: Floats, algebra: Algebra, start: int, end: int
    ) -> Iterator[tuple[int, slice, Floats, float]]:
        """Each move of step i: value of `old`, columns of the level before, what they draw on, and its weight."""
        step = self.table.steps[i]
        rows_KXB = after.values_SB[step.bases[:, None] + step.carry]
        for old, move in enumerate(self._moves[i]):
            merged = algebra.gather.reduceat(of_old(weights, old)[move.order], move.starts).tolist()
            for kept, bins, weight in zip(move.kept, move.bins, merged):
                low, high = max(start, after.start + bins), min(end, after.end + bins)
                if low < high:
                    source = rows_KXB[kept, :, low - bins - after.start : high - bins - after.start]
                    yield old, slice(low - start, high - start), source, weight


def of_old(weights: Floats, old: int | Ints) -> Floats:
    """Return the weights of a step's outcomes, (R,) or (O, R), for these values of `old`."""
    return weights if weights.ndim == 1 else np.asarray(weights[old])


def _moves(step: Step, bins_OR: Ints) -> list[Move]:
    moves = []
    for kept_R, bins_R in zip(step.kept_OR, bins_OR):
        order = np.lexsort((bins_R, kept_R))
        kept_R, bins_R = kept_R[order], bins_R[order]
        new = np.flatnonzero(np.r_[True, (kept_R[1:] != kept_R[:-1]) | (bins_R[1:] != bins_R[:-1])])
        moves.append(Move(order, new, kept_R[new].tolist(), bins_R[new].tolist()))
    return moves


def grid_for(table: CostTable, low: int, high: int, bins: int | None = None) -> Grid:
    """Return a grid fine enough for the range [low, high]; `bins`: how many to spend instead.

    The window should be hardly wider than the range; the memory bounds how fine the grid can be.

    Raises:
        ConfigError: a space whose states alone would fill the memory.
    """
    costs = [step.cost_OR for step in table.steps]
    base = table.constant + sum(int(c.min()) for c in costs)
    top = table.constant + sum(int(c.max()) for c in costs)
    span = max(1, min(high - base, top - low, top - base))
    varied = sum(1 for cost in costs if cost.min() < cost.max())
    states = sum(step.states for step in table.steps) + 1
    most = MEMORY // (8 * states)
    if most < MIN_BINS // 4:
        raise ConfigError(f"this space has {states:,} joint values of shared decisions over all its blocks: too many")
    most = min(most, bins or MAX_BINS)
    coarse = span // min(most, MIN_BINS) if bins is None else 0
    fine = min((high - low) // (4 * max(1, varied)), coarse)
    return _grid(table, max(fine, -(-span // most), table.unit))


@lru_cache(maxsize=16)
def _grid(table: CostTable, pitch: int) -> Grid:
    """Return a cached grid: a search asks for the same few ranges at every step, with another prior."""
    return Grid(table, pitch)
