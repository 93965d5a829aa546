"""Constraints of a search: a range of a cost for the whole network, and for the network at the end of each part.

    "1.37:1.43", ":1.43", "1.37:"    the whole network, in the cost's unit
    "sparse=0.7:0.8"                 the network as it stands at the end of part sparse

A command reads its constraints once (`read_constraints`); a search resolves them once (part_ranges.py), and from then
on everybody uses the ranges in `Constraint.parts`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from autovid.costs import Cost, Macs, cost_names, make_cost
from autovid.errors import ConfigError, CostRangeError
from autovid.solver import (
    CostRange,
    CostTable,
    Factor,
    TableConstraint,
    most_probable_within,
    probability_in_range,
    sample_within,
)
from autovid.space import Architecture, SearchSpace

LOG_DRAWS = 4096  # for P(in range) of several ranges in the log: off by 0.008 at most, as a standard error


@dataclass(frozen=True)
class Constraint:
    """A cost and its ranges. `parts` has a range for every part that has one; the last part's is the final network's.

    `own` are the parts whose ranges the user gave, `settled` those whose share of the whole range could not be met.
    """

    cost: Cost
    whole: CostRange | None = None
    parts: Mapping[str, CostRange] = field(default_factory=dict)
    own: frozenset[str] = frozenset()
    settled: frozenset[str] = frozenset()

    def final(self, space: SearchSpace) -> CostRange | None:
        """Return the range of the finished network."""
        return self.parts.get(space.parts[-1].name, self.whole)

    def texts(self) -> list[str]:
        """Return the ranges that the user gave, as they are typed."""
        write = self.cost.quantity.write
        named = [f"{name}={write(self.parts[name])}" for name in self.parts if name in self.own]
        return [*([write(self.whole)] if self.whole else []), *named]

    def say(self, ends: CostRange) -> str:
        """ "1.37–1.43 GFLOPs"."""
        return self.cost.quantity.say(*ends)

    def spoken(self) -> list[str]:
        """Return the ranges that the user gave, for a sentence."""
        named = [f"{self.say(self.parts[name])} at the end of part {name}" for name in self.parts if name in self.own]
        return [*([self.say(self.whole)] if self.whole else []), *named]

    def record(self) -> dict[str, Any]:
        """Return an entry of a configuration, from which `from_record` makes the same constraint."""
        write = self.cost.quantity.write
        return {
            "unit": self.cost.quantity.unit,
            **({"whole": write(self.whole)} if self.whole else {}),
            "parts": {name: write(ends) for name, ends in self.parts.items()},
            "own": sorted(self.own),
            "settled": sorted(self.settled),
            **self.cost.record(),
        }

    @classmethod
    def from_record(cls, cost: Cost, record: Mapping[str, Any]) -> "Constraint":
        """Return the constraint that was recorded. Raises ConfigError."""
        read = cost.quantity.parse
        whole = read(record["whole"]) if "whole" in record else None
        parts = {name: read(text) for name, text in record["parts"].items()}
        return cls(cost, whole, parts, frozenset(record["own"]), frozenset(record["settled"]))


@dataclass(frozen=True)
class PartConstraint(TableConstraint):
    """A range of a cost over the space of one part, or over the whole space."""

    cost: Cost


def read_constraints(
    space: SearchSpace, ranges: Mapping[str, str | Sequence[str]], files: Mapping[str, Path] | None = None
) -> tuple[Constraint, ...]:
    """Read constraints as `{"flops": "1.37:1.43", "latency": [...]}`; `files` has the file of a cost that needs one.

    Nothing is solved: `parts` has only ranges that were given. Raises ConfigError.
    """
    names = cost_names()
    constraints = []
    for option, texts in ranges.items():
        if option not in names:
            raise ConfigError(f"no cost is called {option!r}; there are {', '.join(names)}")
        pieces = [piece for text in ([texts] if isinstance(texts, str) else texts) for piece in text.split(",")]
        if pieces:
            cost = make_cost(names[option], (files or {}).get(option))
            constraints.append(_read_constraint(space, cost, pieces))
    return tuple(constraints)


def _read_constraint(space: SearchSpace, cost: Cost, pieces: Sequence[str]) -> Constraint:
    option, names = f"--{cost.option}", [part.name for part in space.parts]
    whole: CostRange | None = None
    own: dict[str, CostRange] = {}
    if len(pieces) > 1 and any(re.fullmatch(r"(\w+=)?\d+", piece.strip()) for piece in pieces):
        asked = f"{option} {','.join(pieces)!r}"
        raise ConfigError(f"{asked}: write decimal numbers with a point, like {option} {cost.quantity.example}")
    for text in pieces:
        name, equals, numbers = text.rpartition("=")
        if not equals:
            if whole is not None:
                raise ConfigError(f"{option} gives two ranges for the whole network; {text} is the second")
            whole = cost.quantity.parse(numbers)
        elif name not in names:
            raise ConfigError(f"{option} {text}: no part is called {name}; there are {', '.join(names)}")
        elif name in own:
            raise ConfigError(f"{option} gives two ranges for part {name}; {text} is the second")
        else:
            own[name] = cost.quantity.parse(numbers)
    constraint = Constraint(cost, whole, own, frozenset(own))
    if whole is not None and names[-1] in own:
        raise ConfigError(
            f"{option} gives {constraint.say(whole)} and {names[-1]}={constraint.say(own[names[-1]])}, but the last "
            "part's range is the whole network's; leave one of them out"
        )
    return constraint


def part_constraints(
    constraints: Sequence[Constraint], number: int, space: SearchSpace, part_space: SearchSpace
) -> list[PartConstraint]:
    """Return the constraints that have a range at the end of part `number`, over the space of that part."""
    name = space.parts[number].name
    limited = [(c, c.parts[name]) for c in constraints if name in c.parts]
    return [PartConstraint(c.cost.table(part_space), ends, c.cost) for c, ends in limited]


def final_constraints(constraints: Sequence[Constraint], space: SearchSpace) -> list[PartConstraint]:
    """Return the constraints of the finished network, over the whole space or what is left of it."""
    limited = [(c, ends) for c in constraints if (ends := c.final(space)) is not None]
    return [PartConstraint(c.cost.table(space), ends, c.cost) for c, ends in limited]


def whole_constraints(constraints: Sequence[Constraint], space: SearchSpace) -> list[PartConstraint]:
    """Return the constraints of the finished network, and those on parts that the user gave, over the whole space."""
    inside = final_constraints(constraints, space)
    for number, part in enumerate(space.parts[:-1]):
        limited = [c for c in constraints if part.name in c.own]
        inside += [PartConstraint(_part_table(c.cost, number, space), c.parts[part.name], c.cost) for c in limited]
    return inside


def _part_table(cost: Cost, number: int, space: SearchSpace) -> CostTable:
    """Return the cost of the network as it stands at the end of a part, over the decisions of the whole space."""
    part_space = space.part_space(number, {})
    table, names = cost.table(part_space), [decision.name for decision in part_space.decisions]
    whole = {decision.name: i for i, decision in enumerate(space.decisions)}
    factors, constant = [], table.constant
    for factor in table.factors:
        fixed = tuple(axis for axis, d in enumerate(factor.scope) if table.sizes[d] == 1)
        scope = tuple(whole[names[d]] for axis, d in enumerate(factor.scope) if axis not in fixed)
        costs = factor.table.squeeze(fixed)
        if scope:
            factors.append(Factor(scope, costs))
        else:
            constant += int(costs)
    return CostTable(factors, constant, space.sizes, table.quantity)


def or_full_range(constraints: Sequence[TableConstraint], cost: Cost, space: SearchSpace) -> Sequence[TableConstraint]:
    """Return the constraints; where there is none, everything that the space reaches of a cost."""
    if constraints:
        return constraints
    table = cost.table(space)  # made only here: it takes longer than a draw
    return [TableConstraint(table, CostRange(table.smallest()[0], table.largest()[0]))]


def option_names(constraints: Sequence[Constraint]) -> str:
    """ "--flops, --latency"."""
    return ", ".join(f"--{constraint.cost.option}" for constraint in constraints)


def ranges_text(constraints: Sequence[Constraint]) -> str:
    """ "1.37–1.43 GFLOPs and 20–25 ms", and "0.7–0.8 GFLOPs at the end of part sparse"; "none" without a range."""
    return " and ".join(text for constraint in constraints for text in constraint.spoken()) or "none"


def part_ranges_note(constraints: Sequence[Constraint]) -> str:
    """Return a sentence on ranges of parts that had to be settled; empty where none was."""
    texts = [
        f"{name}={c.cost.quantity.write(c.parts[name])} {c.cost.quantity.unit}"
        for c in constraints
        for name in c.parts
        if name in c.settled
    ]
    if not texts:
        return ""
    return f"The parts cannot use their shares of this range one after the other; ours instead: {', '.join(texts)}"


def drawable(constraints: Sequence[PartConstraint]) -> list[PartConstraint]:
    """Return the constraints if they can be met together, else the first ones that can: a part's share may be ours."""
    left = list(constraints)
    while len(left) > 1 and not can_be_met(left):
        left.pop()
    return left


def can_be_met(constraints: Sequence[TableConstraint]) -> bool:
    """Return True if an architecture lies inside all ranges; with several, if one is found in bounded time."""
    try:
        sample_within(constraints, uniform(constraints[0].table), 1, np.random.default_rng(0))
    except CostRangeError:
        return False
    return True


def likeliest(
    constraints: Sequence[PartConstraint], space: SearchSpace, log_probs: Sequence[np.ndarray]
) -> Architecture:
    """Return the most probable architecture inside the ranges, or inside the first ones that can be met together."""
    inside = or_full_range(drawable(constraints), Macs(), space)
    return space.architecture(most_probable_within(inside, log_probs).choices)


def probability_inside(constraints: Sequence[TableConstraint], log_probs: Sequence[np.ndarray], bins: int) -> float:
    """P(inside all ranges) under a prior; of several it is the share of LOG_DRAWS draws, the same for equal priors."""
    if len(constraints) == 1:
        return probability_in_range(constraints[0].table, log_probs, *constraints[0].range, bins=bins).value
    rng = np.random.default_rng(0)
    columns = [(rng.random((LOG_DRAWS, 1)) > np.exp(logp).cumsum()[:-1]).sum(axis=1) for logp in log_probs]
    rows = np.stack(columns, axis=1)
    return float(np.all([constraint.inside(rows) for constraint in constraints], axis=0).mean())


def uniform(table: CostTable) -> list[np.ndarray]:
    """Return the uniform prior over a table's decisions, as log-probabilities."""
    return [np.full(size, -np.log(size)) for size in table.sizes]
