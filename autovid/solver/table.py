"""The cost of every architecture of a space as a sum of small integer tables, exact to the last atom.

cost(c) = constant + sum over factors f of table_f[c[scope_f]], c one candidate for each of D decisions. Everything
here is exact: totals in int64, the extremes by elimination, the mean under a prior factor by factor.

Bucket elimination along a sequence of factors keeps solving small: a decision that only one factor reads is settled
inside that factor (an *outcome*); one that several factors read is part of the *state* from the first of them to the
last. For the networks here, chains of blocks, a state is the widths of the stages at hand, and a step has some dozens
of outcomes.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from autovid.errors import ConfigError
from autovid.solver.cost_range import PLAIN, CostRange, Ints, Quantity

MAX_STATES = 20_000
_CHUNK = 2048  # architectures at a time: index and gathered costs stay in the L2 cache
_EXACT_FLOAT32 = 2**24


@dataclass(frozen=True)
class Step:
    """One factor, taken in turn. `state` before the step = old * len(carry) + other.

    O values of the decisions of the factor that earlier steps made, R outcomes (joint values of the decisions made
    here), X joint values of live decisions that the factor does not read.
    """

    decisions: tuple[int, ...]  # made at this step
    values_RD: Ints  # candidate of each of them, by outcome
    cost_OR: Ints
    kept_OR: Ints  # which of `bases` the next state starts from
    bases: Ints
    carry: Ints  # (X,); the next state is bases[kept] + carry[other]

    @property
    def states(self) -> int:
        return len(self.cost_OR) * len(self.carry)

    def after(self, old: int, other: int) -> Ints:
        """Return the state after each of the R outcomes."""
        return np.asarray(self.bases[self.kept_OR[old]] + self.carry[other])


@dataclass(frozen=True, eq=False)
class Factor:
    """The cost of a piece of a network: `table[c[scope[0]], c[scope[1]], ...]` in atoms, int64."""

    scope: tuple[int, ...]
    table: Ints


class CostTable:
    """Factors in network order, a constant, and the number of candidates of each of the D decisions.

    `quantity` says what the costs count, in whole atoms.
    """

    def __init__(
        self, factors: Sequence[Factor], constant: int, sizes: Sequence[int], quantity: Quantity = PLAIN
    ) -> None:
        self.quantity = quantity
        self.factors = tuple(factors)
        self.constant = int(constant)
        self.sizes = tuple(int(n) for n in sizes)
        for factor in self.factors:
            shape = tuple(self.sizes[d] for d in factor.scope)
            if factor.table.dtype != np.int64 or factor.table.shape != shape:
                raise ValueError(f"factor over {factor.scope}: int64 {shape} needed, got {factor.table.shape}")
            if len(set(factor.scope)) != len(factor.scope):
                raise ValueError(f"factor over {factor.scope} names a decision twice")

    def total(self, choices: ArrayLike) -> Ints:
        """Return the exact cost, int64 (N,), of `choices`, integers (N, D). Millions of architectures a second."""
        choices_ND = np.asarray(choices)
        if choices_ND.ndim != 2 or choices_ND.shape[1] != len(self.sizes) or choices_ND.dtype.kind not in "iu":
            raise ValueError(f"integer choices (N, {len(self.sizes)}) needed, got {choices_ND.shape}")
        strides_DF, offsets_F, flat = self._flat
        sizes = np.asarray(self.sizes, strides_DF.dtype)
        totals = np.empty(len(choices_ND), np.int64)
        for start in range(0, len(totals), _CHUNK):
            chunk = choices_ND[start : start + _CHUNK].astype(strides_DF.dtype)
            if (chunk < 0).any() or (chunk >= sizes).any():
                raise ValueError("a choice is not one of its decision's candidates")
            index = chunk @ strides_DF  # small whole numbers: exact in floating point, and BLAS is the fastest way
            index += offsets_F
            totals[start : start + _CHUNK] = flat.take(index.astype(np.int32), mode="clip").sum(axis=1)
        return totals + self.constant

    @cached_property
    def _flat(self) -> tuple[NDArray[Any], NDArray[Any], Ints]:
        """All tables end to end, with the matrix and the offsets that turn choices into places in them."""
        size = sum(factor.table.size for factor in self.factors)
        dtype = np.float32 if size < _EXACT_FLOAT32 else np.float64
        strides, offsets = np.zeros((len(self.sizes), len(self.factors)), dtype), np.zeros(len(self.factors), dtype)
        start = 0
        for f, factor in enumerate(self.factors):
            for axis, d in enumerate(factor.scope):
                strides[d, f] = math.prod(factor.table.shape[axis + 1 :])
            offsets[f] = start
            start += factor.table.size
        tables = [factor.table.ravel() for factor in self.factors]
        return strides, offsets, np.concatenate(tables) if tables else np.zeros(1, np.int64)

    @cached_property
    def steps(self) -> list[Step]:
        """The elimination order; raises ConfigError where the space is too entangled."""
        return elimination_steps([f.scope for f in self.factors], [f.table for f in self.factors], self.sizes)

    @cached_property
    def unit(self) -> int:
        """Every reachable cost differs from every other by a multiple of this."""
        gaps = [int(np.gcd.reduce((step.cost_OR - step.cost_OR.min()).ravel())) for step in self.steps]
        return math.gcd(*gaps) or 1

    def snap(self, low: int, high: int) -> tuple[int, int]:
        """Move the ends of a range inwards to the nearest values that `unit` allows; low > high: none is in it."""
        start = self.smallest()[0]
        return low + (start - low) % self.unit, high - (high - start) % self.unit

    def smallest(self) -> tuple[int, Ints]:
        """Return the lowest reachable cost, and choices (D,) that have it."""
        return self._smallest

    def largest(self) -> tuple[int, Ints]:
        """Return the highest reachable cost, and choices (D,) that have it."""
        return self._largest

    @cached_property
    def _smallest(self) -> tuple[int, Ints]:
        return self._extreme(1)

    @cached_property
    def _largest(self) -> tuple[int, Ints]:
        return self._extreme(-1)

    def _extreme(self, sign: int) -> tuple[int, Ints]:
        best = np.zeros(1, np.int64)
        picks = []
        for step in reversed(self.steps):
            after_ORX = step.bases[step.kept_OR][:, :, None] + step.carry
            total_ORX = sign * step.cost_OR[:, :, None] + best[after_ORX]
            pick_OX = total_ORX.argmin(axis=1)
            best = np.take_along_axis(total_ORX, pick_OX[:, None], axis=1).ravel()
            picks.append(pick_OX)
        choices, state = np.zeros(len(self.sizes), np.int64), 0
        for step, pick_OX in zip(self.steps, reversed(picks)):
            old, other = divmod(state, len(step.carry))
            outcome = int(pick_OX[old, other])
            choices[list(step.decisions)] = step.values_RD[outcome]
            state = int(step.after(old, other)[outcome])
        return sign * int(best[0]) + self.constant, choices

    def expected(self, probs: Sequence[ArrayLike]) -> float:
        """Return the mean cost when decision d takes its candidates with `probs[d]` (n_d,), independently."""
        weights = [np.asarray(p, np.float64) for p in probs]
        mean = float(self.constant)
        for factor in self.factors:
            left = factor.table.astype(np.float64)
            for d in factor.scope:
                left = np.tensordot(weights[d], left, axes=1)
            mean += float(left)
        return mean

    def expected_gradient(self, probs: Sequence[ArrayLike]) -> list[NDArray[np.float64]]:
        """Return the derivative of `expected` by each probability, (n_d,) for every decision.

        The mean is linear in the probabilities of one decision: their derivative is what each candidate costs on
        average, less what does not depend on the decision.
        """
        weights = [np.asarray(p, np.float64) for p in probs]
        gradient = [np.zeros(size) for size in self.sizes]
        for factor in self.factors:
            left = factor.table.astype(np.float64)  # the decisions before this one are contracted
            for d in factor.scope:
                rest = left
                while rest.ndim > 1:
                    rest = rest @ weights[factor.scope[len(factor.scope) - left.ndim + rest.ndim - 1]]
                gradient[d] += rest
                left = np.tensordot(weights[d], left, axes=1)
        return gradient

    def restrict(self, allowed: Mapping[int, Sequence[int] | Ints]) -> "CostTable":
        """Return the table in which decision d keeps the candidates `allowed[d]`; in the result they count from 0."""
        keep = [np.asarray(allowed.get(d, np.arange(n)), np.int64) for d, n in enumerate(self.sizes)]
        if any(len(k) == 0 for k in keep):
            raise ValueError("a decision without candidates")
        factors = [Factor(f.scope, np.asarray(f.table[np.ix_(*(keep[d] for d in f.scope))])) for f in self.factors]
        return CostTable(factors, self.constant, [len(k) for k in keep], self.quantity)


@dataclass(frozen=True)
class TableConstraint:
    """A cost and the range that it must lie in. Several constraints are over tables of one space."""

    table: CostTable
    range: CostRange

    def inside(self, choices_ND: Ints) -> NDArray[np.bool_]:
        """Return True for each architecture, (N,), whose cost lies in the range."""
        return self.range.holds(self.table.total(choices_ND))

    def __str__(self) -> str:
        return self.table.quantity.say(*self.range)


def elimination_steps(scopes: Sequence[tuple[int, ...]], tables: Sequence[Ints], sizes: Sequence[int]) -> list[Step]:
    """Return steps that together make every decision once and add every factor once.

    Raises:
        ConfigError: more than MAX_STATES joint values of decisions would have to be told apart at once.
    """
    missing = sorted(set(range(len(sizes))) - {d for scope in scopes for d in scope})
    scopes = [*scopes, *((d,) for d in missing)]  # decisions without a cost
    tables = [*tables, *(np.zeros(sizes[d], np.int64) for d in missing)]
    order = _order(scopes, sizes)
    layouts = _layouts([scopes[f] for f in order], sizes)
    return [_step(scopes[f], tables[f], sizes, before, after) for f, before, after in zip(order, layouts, layouts[1:])]


def _order(scopes: Sequence[tuple[int, ...]], sizes: Sequence[int]) -> list[int]:
    """Greedy: next comes the group of factors that leaves the fewest live states; ties in network order."""
    readers = [0] * len(sizes)
    for scope in scopes:
        for d in scope:
            readers[d] += 1
    groups: dict[tuple[int, ...], list[int]] = {}
    for f, scope in enumerate(scopes):
        groups.setdefault(tuple(sorted(d for d in scope if readers[d] > 1)), []).append(f)
    order: list[int] = []
    live: set[int] = set()
    while groups:
        shared = min(groups, key=lambda g: _states(_left(live, g, len(groups[g]), readers), sizes))
        members = groups.pop(shared)
        live = _left(live, shared, len(members), readers)
        for d in shared:
            readers[d] -= len(members)
        order += members
    return order


def _left(live: set[int], shared: tuple[int, ...], taken: int, readers: list[int]) -> set[int]:
    return {d for d in live | set(shared) if d not in shared or readers[d] > taken}


def _states(decisions: Iterable[int], sizes: Sequence[int]) -> int:
    states = 1
    for d in decisions:
        states *= sizes[d]
    return states


def _layouts(scopes: list[tuple[int, ...]], sizes: Sequence[int]) -> list[tuple[int, ...]]:
    """Return the live decisions before each step (and after the last), those that the step reads first."""
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for i, scope in enumerate(scopes):
        for d in scope:
            first.setdefault(d, i)
            last[d] = i
    layouts: list[tuple[int, ...]] = []
    for i in range(len(scopes) + 1):
        live = [d for d in sorted(first) if first[d] < i <= last[d]]
        if _states(live, sizes) > MAX_STATES:
            raise ConfigError(
                f"this space ties too many decisions together to be solved: {_states(live, sizes):,} joint values of "
                f"{len(live)} shared decisions at once, at most {MAX_STATES:,}; share fewer decisions between blocks"
            )
        scope = scopes[i] if i < len(scopes) else ()
        layouts.append((*(d for d in live if d in scope), *(d for d in live if d not in scope)))
    return layouts


def _step(
    scope: tuple[int, ...], table: Ints, sizes: Sequence[int], before: tuple[int, ...], after: tuple[int, ...]
) -> Step:
    old = [d for d in before if d in scope]
    fresh = [d for d in scope if d not in before]
    others = [d for d in before if d not in scope]
    shape = [sizes[d] for d in fresh]
    strides = {d: _states(after[i + 1 :], sizes) for i, d in enumerate(after)}
    part_OR = _offsets(old, sizes, strides)[:, None] + _offsets(fresh, sizes, strides)
    bases, kept = np.unique(part_OR, return_inverse=True)
    cost = np.transpose(table, [scope.index(d) for d in (*old, *fresh)]).reshape(part_OR.shape)
    values = np.indices(shape).reshape(len(shape), -1).T if shape else np.zeros((1, 0))
    return Step(
        decisions=tuple(fresh),
        values_RD=values.astype(np.int64),
        cost_OR=np.ascontiguousarray(cost),
        kept_OR=kept.reshape(part_OR.shape).astype(np.int64),
        bases=bases,
        carry=_offsets(others, sizes, strides),
    )


def _offsets(decisions: list[int], sizes: Sequence[int], strides: Mapping[int, int]) -> Ints:
    """Return the sum that each joint value of `decisions`, the last running fastest, adds to the next state."""
    offsets = np.zeros(1, np.int64)
    for d in decisions:
        offsets = np.add.outer(offsets, np.arange(sizes[d]) * strides.get(d, 0)).ravel()
    return offsets


def aligned(tables: Sequence[CostTable]) -> list[CostTable]:
    """Return the tables with factors over the same scopes, so that all are added up in the same steps.

    A factor goes to the first factor of the others that reads all its decisions.
    """
    scopes = [factor.scope for factor in tables[0].factors]
    for factor in (factor for table in tables[1:] for factor in table.factors):
        if not any(set(factor.scope) <= set(scope) for scope in scopes):
            scopes.append(factor.scope)
    return [table if [f.scope for f in table.factors] == scopes else _along(table, scopes) for table in tables]


def _along(table: CostTable, scopes: Sequence[tuple[int, ...]]) -> CostTable:
    whole = [np.zeros([table.sizes[d] for d in scope], np.int64) for scope in scopes]
    for factor in table.factors:
        place = next(i for i, scope in enumerate(scopes) if set(factor.scope) <= set(scope))
        axes = sorted(range(len(factor.scope)), key=lambda axis: scopes[place].index(factor.scope[axis]))
        shape = [table.sizes[d] if d in factor.scope else 1 for d in scopes[place]]
        whole[place] += factor.table.transpose(axes).reshape(shape)
    factors = [Factor(scope, costs) for scope, costs in zip(scopes, whole)]
    return CostTable(factors, table.constant, table.sizes, table.quantity)
