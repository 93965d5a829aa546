"""In which order a cost table is added up, so that solving on it stays small.

Bucket elimination along a sequence of factors: a decision that only one factor reads is settled inside that factor
(an *outcome*); one that several factors read is part of the *state* from the first of them to the last. For the
networks here, chains of blocks, a state is the widths of the stages at hand, and a step has some dozens of outcomes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autovid.errors import ConfigError

MAX_STATES = 20_000
Ints = NDArray[np.int64]


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


def plan(scopes: Sequence[tuple[int, ...]], tables: Sequence[Ints], sizes: Sequence[int]) -> list[Step]:
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
