"""Whether a part of the search leaves the later parts a way into their ranges, and the best choice that does."""

import heapq
import itertools
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod

import numpy as np

from autovid.costs import MacsTable
from autovid.errors import CostRangeError
from autovid.search.part_targets import Target
from autovid.solver import CostRange, CostTable, Solution, most_probable, sample_in_range
from autovid.solver.distribution import reachable_costs
from autovid.space import Architecture, SearchSpace
from autovid.space.decisions import is_searched_in
from autovid.space.layout import sites
from autovid.space.schema import Value

LOOKAHEAD = 12  # architectures of the next part that are tried before its range counts as out of reach
COMBINATIONS = 500  # of choices that later parts see, above which they are not told apart
NATURAL = 64  # architectures whose parts' shares are averaged
DEEPEST = 10  # how often a slice of the range is halved


@dataclass(frozen=True)
class _Ahead:
    """The space of a part for one combination of earlier choices, its cost table, and what these choices cost."""

    space: SearchSpace
    table: MacsTable
    cost: int
    costs: np.ndarray | None  # all that it can reach, where they can be listed


class Room:
    """The room that parts leave. It depends on an architecture's cost and on a few of its choices, so that tables serve
    many architectures."""

    def __init__(self, space: SearchSpace, target: Target) -> None:
        self.space, self.target = space, target
        self._seen = [_seen(space, number) for number in range(-1, len(space.parts))]
        self._ahead: dict[tuple[object, ...], _Ahead] = {}

    def after(self, number: int, chosen: Mapping[str, Value], cost: int) -> bool:
        """Whether the parts after `number` can still meet their ranges once `chosen`, which costs `cost`, is fixed.

        `cost` is what `fixed_cost` says, in the space of part `number`.
        Some architectures of the next part are drawn from inside its range, and each is asked the same question.
        """
        following = number + 1
        if following == len(self.space.parts):
            return True
        wanted = self.target.of(self.space, following)
        if wanted is None:
            return self.after(following, chosen, cost)
        ahead = self._look(following, chosen, cost)
        low, high = (end - (cost - ahead.cost) for end in wanted)
        if following + 1 == len(self.space.parts) and ahead.costs is not None:
            first = bisect_left(ahead.costs, low)
            return first < len(ahead.costs) and bool(ahead.costs[first] <= high)
        return self._any(ahead, following, chosen, CostRange(low, high), cost)

    def _any(self, ahead: _Ahead, number: int, chosen: Mapping[str, Value], wanted: CostRange, cost: int) -> bool:
        n = LOOKAHEAD if number + 1 < len(self.space.parts) else 1
        try:
            rows = sample_in_range(ahead.table, uniform(ahead.table), *wanted, n, np.random.default_rng(0))
        except CostRangeError:
            return False
        for row, macs in zip(rows, fixed_cost(self.space, number, ahead.table, rows)):
            made = {**decided(self.space, number, ahead.space.architecture(row)), **chosen}
            if self.after(number, made, int(macs) + cost - ahead.cost):
                return True
        return False

    def _look(self, number: int, chosen: Mapping[str, Value], cost: int) -> _Ahead:
        """The part's space; made once for every combination of the choices that its sites and later ones see."""
        key = (number, *(chosen[name] for name in self._seen[number] if name in chosen))
        if key not in self._ahead:
            there = self.space.part_space(number, chosen)
            table = there.cost_table()
            last = number + 1 == len(self.space.parts)
            self._ahead[key] = _Ahead(there, table, cost, reachable_costs(table) if last else None)
        return self._ahead[key]


def check(space: SearchSpace, target: Target) -> None:
    """Raises CostRangeError, with the reachable range, when a search cannot meet its target in any way."""
    if target.whole is not None:
        _check_reach(space.cost_table(), target.whole)
    for number, part in enumerate(space.parts):
        wanted = target.of(space, number)
        if wanted is not None:
            shared = part.name not in target.own and part.cost_fraction < 1
            share = f" (the share of part {part.name}, {part.cost_fraction:.0%} of {target.whole})" if shared else ""
            share = f" (at the end of part {part.name})" if part.name in target.own else share
            _check_reach(space.part_space(number, {}).cost_table(), wanted, share)
    if not Room(space, target).after(-1, {}, 0):
        raise CostRangeError(
            "--flops: each part's range can be met, but not one after the other: what one part uses leaves the next no "
            "architecture in its range; change the parts' ranges"
        )


def settle(space: SearchSpace, target: Target) -> Target:
    """The target that a search of `space` can meet: where the parts' shares of the whole range cannot be met one after
    the other, the last ones (as few as possible) give way to the share that a part has on average among architectures
    drawn uniformly from the whole range, as ranges of their own; or, where the range is too narrow for that, to all
    that the part costs in these architectures. Ours.

    Raises CostRangeError where the whole range, or a range that a part was given, is out of reach.
    """
    try:
        check(space, target)
        return target
    except CostRangeError:
        if target.whole is None:
            raise
        _check_reach(space.cost_table(), target.whole)
        for ranges in _natural_ranges(space, target.whole):
            for first in reversed(range(len(ranges))):
                own = {part.name: its for part, its in zip(space.parts[first:], ranges[first:])}
                settled = Target(target.whole, {**own, **target.own})
                try:
                    check(space, settled)
                except CostRangeError:
                    continue
                return settled
        if target.own:
            raise
        raise CostRangeError(
            f"--flops: there are architectures with {target.whole}, but that is too narrow to be reached part by part; "
            "widen it"
        ) from None


def _check_reach(table: MacsTable, wanted: CostRange, share: str = "") -> None:
    try:
        sample_in_range(table, uniform(table), *wanted, 1, np.random.default_rng(0))
    except CostRangeError as error:
        raise CostRangeError(f"--flops: {error}{share}") from None


def _natural_ranges(space: SearchSpace, whole: CostRange) -> tuple[list[CostRange], list[CostRange]]:
    """What each part but the last has used in architectures drawn from `whole`: its mean share of the cost, to two
    digits, as a range; and from the least to the most."""
    table = space.cost_table()
    rows = sample_in_range(table, uniform(table), *whole, NATURAL, np.random.default_rng(0))
    archs, total = [space.architecture(row) for row in rows], table.macs(rows)
    shares, spans = [], []
    for number in range(len(space.parts) - 1):
        there, kept = in_part(space, number, archs)
        macs = there.cost_table().macs(kept)
        shares.append(whole.share(round(float(np.mean(macs / total)), 2)))
        spans.append(CostRange(int(macs.min()), int(macs.max())))
    return shares, spans


def in_part(space: SearchSpace, number: int, archs: Sequence[Architecture]) -> tuple[SearchSpace, list[Architecture]]:
    """The space of a part, and what it holds of architectures of the whole; first candidates for what is to come."""
    there = space.part_space(number, {})
    made = [{**{d.name: d.candidates[0] for d in there.decisions}, **decided(space, number, a)} for a in archs]
    names = {d.name for d in there.decisions}
    kept = [
        replace(a, network=there.network, choices={n: v for n, v in m.items() if n in names})
        for a, m in zip(archs, made)
    ]
    return there, kept


def uniform(table: CostTable) -> list[np.ndarray]:
    """The uniform prior over a table's decisions, as log-probabilities."""
    return [np.full(size, -np.log(size)) for size in table.sizes]


def decided(space: SearchSpace, number: int, arch: Architecture) -> dict[str, Value]:
    """What an architecture of part `number` decides for good: not the "skip" that stands for what is to come."""
    done = space.parts[: number + 1]
    return {name: value for name, value in arch.choices.items() if any(is_searched_in(part, name) for part in done)}


def fixed_cost(space: SearchSpace, number: int, table: MacsTable, rows: np.ndarray) -> np.ndarray:
    """MACs, int64 (N,), of choices (N, D) of part `number`, with the first candidate for what later parts decide."""
    later = [d.name for d in space.decisions if any(is_searched_in(part, d.name) for part in space.parts[number + 1 :])]
    rows = rows.copy()
    rows[:, [i for i, d in enumerate(table.space.decisions) if d.name in later]] = 0
    return table.macs(rows)


def choose(
    space: SearchSpace, number: int, there: SearchSpace, log_probs: Sequence[np.ndarray], target: Target
) -> tuple[Architecture, float]:
    """The most probable architecture of part `number` inside its range that leaves room for the parts after it.

    `there` is the part's space. Returns it with its log-probability. What room there is depends on a few choices (the
    widths that later parts see) and on the cost. So the best of each combination of these choices competes, and a
    combination whose best leaves no room is split by cost, down to slices of 1/1024 of the range.

    Raises CostRangeError where there is none.
    """
    table, room = there.cost_table(), Room(space, target)
    low, high = target.of(space, number) or (table.smallest()[0], table.largest()[0])
    queue: list[_Slice] = []
    for choices in _combinations(space, number, there):
        _push(queue, _Slice(there.fix(choices), low, high, 0), there, log_probs)
    while queue:
        best = heapq.heappop(queue)
        arch = best.space.architecture(best.found.choices)
        cost = int(fixed_cost(space, number, table, there.index([arch]))[0])
        if room.after(number, decided(space, number, arch), cost):
            return arch, best.found.logprob
        if best.depth < DEEPEST and best.low < best.high:
            middle = (best.low + best.high) // 2
            for ends in ((best.low, middle), (middle + 1, best.high)):
                _push(queue, _Slice(best.space, *ends, best.depth + 1), there, log_probs)
    raise CostRangeError(f"part {space.parts[number].name}: no architecture in its range leaves room for the next part")


@dataclass(order=True)
class _Slice:
    """The architectures of one combination of choices in one slice of the range; `found` is the best of them."""

    space: SearchSpace = field(compare=False)
    low: int = field(compare=False)
    high: int = field(compare=False)
    depth: int = field(compare=False)
    rank: tuple[float, int] = (0.0, 0)
    found: Solution = field(compare=False, default=Solution(np.zeros(0, np.int64), 0.0, 0))


def _push(queue: list[_Slice], piece: _Slice, there: SearchSpace, log_probs: Sequence[np.ndarray]) -> None:
    """Solves a slice and queues it, if anything lies in it."""
    kept = [
        logp[[full.candidates.index(candidate) for candidate in left.candidates]]
        for logp, full, left in zip(log_probs, there.decisions, piece.space.decisions)
    ]
    try:
        found = most_probable(piece.space.cost_table(), kept, piece.low, piece.high)
    except CostRangeError:
        return
    # the solver normalises: what is fixed counts there as certain
    fixed = sum(float(logp[0]) for logp in kept if len(logp) == 1)
    piece.found = Solution(found.choices, found.logprob + fixed, found.cost)
    piece.rank = (-piece.found.logprob, len(queue))
    heapq.heappush(queue, piece)


def _combinations(space: SearchSpace, number: int, there: SearchSpace) -> Iterator[dict[str, Value]]:
    """All combinations of the open choices that sites of later parts depend on."""
    names = _seen(space, number)
    seen = [d for d in there.decisions if d.name in names]
    if prod(len(d.candidates) for d in seen) > COMBINATIONS:
        seen = []
    for values in itertools.product(*(d.candidates for d in seen)):
        yield dict(zip((d.name for d in seen), values))


def _seen(space: SearchSpace, number: int) -> list[str]:
    """The decisions of the parts up to `number` that sites with decisions of later parts depend on."""
    done = {d.name for d in space.decisions if any(is_searched_in(part, d.name) for part in space.parts[: number + 1])}
    later = [site for site in sites(space.network, space.reference) if any(name not in done for name in site.scope)]
    return [d.name for d in space.decisions if d.name in done and any(d.name in site.scope for site in later)]
