"""The range of each part of a search, resolved once from the constraints that the user gave. Ours.

A space says which fraction of the MACs a part may use; of other costs a part may use what it uses on average in
architectures drawn uniformly from inside all ranges. Where these shares cannot be met one after the other, the last
ones (as few as possible) give way.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from autovid.errors import CostRangeError
from autovid.search.constraints import Constraint, final_constraints, option_names, read_constraints, uniform
from autovid.search.feasibility import Feasibility, decided
from autovid.solver import UNLIMITED, CostRange, CostTable, sample_in_range, sample_within
from autovid.space import Architecture, SearchSpace

NATURAL = 64  # architectures whose parts' shares are averaged


def parse_constraints(
    space: SearchSpace, ranges: Mapping[str, str | Sequence[str]], files: Mapping[str, Path] | None = None
) -> tuple[Constraint, ...]:
    """Return the constraints of a search, such as `{"flops": "1.37:1.43"}`, with a range for each part.

    `files`: the file of a cost that needs one, such as `{"latency": Path("latency.json")}`.
    Raises ConfigError for text that is no range, CostRangeError for ranges out of reach.
    """
    return resolve_part_ranges(space, read_constraints(space, ranges, files))


def resolve_part_ranges(space: SearchSpace, constraints: Sequence[Constraint]) -> tuple[Constraint, ...]:
    """Return the constraints with a range for each part that a search of `space` can meet one after the other.

    Where the parts' shares of the whole ranges cannot be met so, the last ones give way to the share that a part has
    on average in architectures drawn uniformly from inside the whole ranges; or, where the ranges are too narrow for
    that, to all that the part costs in these architectures.

    Raises CostRangeError where a whole range, or a range that the user gave for a part, is out of reach.
    """
    archs = _Drawn(space, constraints)
    shares = tuple(_with_shares(space, constraint, archs) for constraint in constraints)
    try:
        check(space, shares)
        return shares
    except CostRangeError:
        if all(constraint.whole is None for constraint in constraints):
            raise
        for constraint in constraints:
            if constraint.whole is not None:
                _check_reach(constraint, constraint.cost.table(space), constraint.whole)
        for constraint_set in _settled(space, shares, archs):
            try:
                check(space, constraint_set)
                return constraint_set
            except CostRangeError:
                continue
        if any(constraint.own for constraint in constraints):
            raise
        raise CostRangeError(
            f"{option_names(constraints)}: there are architectures with {_wholes(constraints)}, but that is too narrow "
            "to be reached part by part; widen it"
        ) from None


def check(space: SearchSpace, constraints: Sequence[Constraint]) -> None:
    """Raise CostRangeError, with the reachable range, when a search cannot meet its constraints in any way."""
    for constraint in constraints:
        if constraint.whole is not None:
            _check_reach(constraint, constraint.cost.table(space), constraint.whole)
        for number, part in enumerate(space.parts):
            if part.name in constraint.parts:
                table = constraint.cost.table(space.part_space(number, {}))
                _check_reach(constraint, table, constraint.parts[part.name], _origin(constraint, space, number))
    if not Feasibility(space, constraints).is_feasible(-1, {}, [0] * len(constraints)):
        raise CostRangeError(
            f"{option_names(constraints)}: each part's range can be met, but not one after the other: what one part "
            "uses leaves the next no architecture in its range; change the parts' ranges"
        )


class _Drawn:
    """Architectures drawn uniformly from inside the whole ranges, on demand, and the parts' costs in them."""

    def __init__(self, space: SearchSpace, constraints: Sequence[Constraint]) -> None:
        self._space, self._constraints = space, constraints
        self._archs: list[Architecture] = []

    @property
    def archs(self) -> list[Architecture]:
        """The architectures. Raises CostRangeError where the ranges cannot be met together."""
        if not self._archs:
            inside = final_constraints(self._constraints, self._space)
            try:
                rows = sample_within(inside, uniform(inside[0].table), NATURAL, np.random.default_rng(0))
            except CostRangeError as error:
                raise CostRangeError(f"{option_names(self._constraints)}: {error}") from None
            self._archs = [self._space.architecture(row) for row in rows]
        return self._archs

    def costs(self, constraint: Constraint, number: int) -> np.ndarray:
        """Return the cost of part `number` in each of them, (N,)."""
        part_space, archs = in_part(self._space, number, self.archs)
        return constraint.cost.table(part_space).total(part_space.index(archs))

    def mean_fraction(self, constraint: Constraint, number: int) -> float:
        """Return the mean share of the whole cost that a part has, to two digits."""
        whole = constraint.cost.table(self._space).total(self._space.index(self.archs))
        return round(float(np.mean(self.costs(constraint, number) / whole)), 2)


def _with_shares(space: SearchSpace, constraint: Constraint, archs: _Drawn) -> Constraint:
    """Return a constraint with a share of the whole range for every part without a range of its own."""
    whole = constraint.whole
    if whole is None:
        return constraint
    parts = {}
    for number, part in enumerate(space.parts):
        if part.name in constraint.own:
            parts[part.name] = constraint.parts[part.name]
        elif constraint.cost.by_fraction or number + 1 == len(space.parts):
            parts[part.name] = whole.scaled(part.cost_fraction)
        else:
            parts[part.name] = whole.scaled(archs.mean_fraction(constraint, number))
    return replace(constraint, parts=parts)


def _settled(space: SearchSpace, shares: Sequence[Constraint], archs: _Drawn) -> Iterator[tuple[Constraint, ...]]:
    """Constraints whose last parts have natural ranges, ever more of them; first mean shares, then whole spans."""
    names = [part.name for part in space.parts[:-1]]
    for span in (False, True):
        natural = [_natural(constraint, archs, len(names), span) for constraint in shares]
        for first in reversed(range(len(names))):
            yield tuple(
                _with_ranges(constraint, dict(zip(names[first:], ranges[first:])))
                for constraint, ranges in zip(shares, natural)
            )


def _with_ranges(constraint: Constraint, ranges: Mapping[str, CostRange]) -> Constraint:
    if constraint.whole is None:
        return constraint
    ranges = {name: ends for name, ends in ranges.items() if name not in constraint.own}
    changed = frozenset(name for name, ends in ranges.items() if ends != constraint.parts[name])
    return replace(constraint, parts={**constraint.parts, **ranges}, settled=changed)


def _natural(constraint: Constraint, archs: _Drawn, parts: int, span: bool) -> list[CostRange]:
    """Return the mean share of each of the first parts as a range, or the span from the least to the most it costs."""
    whole = constraint.whole
    if whole is None:
        return []
    if not span:
        return [whole.scaled(archs.mean_fraction(constraint, number)) for number in range(parts)]
    costs = [archs.costs(constraint, number) for number in range(parts)]
    return [
        CostRange(int(c.min()) if whole.low else 0, int(c.max()) if whole.high != UNLIMITED else UNLIMITED)
        for c in costs
    ]


def in_part(space: SearchSpace, number: int, archs: Sequence[Architecture]) -> tuple[SearchSpace, list[Architecture]]:
    """Return the space of a part, and the part of each architecture; first candidates for decisions of later parts."""
    part_space = space.part_space(number, {})
    first = {d.name: d.candidates[0] for d in part_space.decisions}
    choices = [{**first, **decided(space, number, arch)} for arch in archs]
    return part_space, [
        replace(arch, network=part_space.network, choices={name: all_[name] for name in first})
        for arch, all_ in zip(archs, choices)
    ]


def _check_reach(constraint: Constraint, table: CostTable, ends: CostRange, origin: str = "") -> None:
    try:
        sample_in_range(table, uniform(table), *ends, 1, np.random.default_rng(0))
    except CostRangeError as error:
        raise CostRangeError(f"--{constraint.cost.option}: {error}{origin}") from None


def _origin(constraint: Constraint, space: SearchSpace, number: int) -> str:
    """Return a note on a range of a part: where it comes from."""
    part = space.parts[number]
    if part.name in constraint.own | constraint.settled:
        return f" (at the end of part {part.name})"
    if number + 1 == len(space.parts) or constraint.whole is None:
        return ""
    if constraint.cost.by_fraction:
        return f" (the share of part {part.name}, {part.cost_fraction:.0%} of {constraint.say(constraint.whole)})"
    return f" (the share of part {part.name} in {constraint.say(constraint.whole)})"


def _wholes(constraints: Sequence[Constraint]) -> str:
    return " and ".join(c.say(c.whole) for c in constraints if c.whole is not None)
