"""The FLOPs range as the user gives it, and each part's share of it."""

import heapq
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np

from autovid.cost import CostRange, CostTable, Solution, most_probable, parse_gflops, sample_in_range
from autovid.errors import ConfigError, CostRangeError
from autovid.space import Architecture, SearchSpace
from autovid.space.layout import sites
from autovid.space.schema import Value
from autovid.space.space import opens

LOOKAHEAD = 12  # architectures of the next part that are tried before its range counts as out of reach
COMBINATIONS = 500  # of choices that later parts see, above which they are not told apart
DEEPEST = 5  # how often a slice of the range is halved


@dataclass(frozen=True)
class Target:
    """The range of the whole network, and ranges of parts that have their own; None and {} for no constraint."""

    whole: CostRange | None = None
    own: Mapping[str, CostRange] = field(default_factory=dict)

    @classmethod
    def parse(cls, texts: Sequence[str], space: SearchSpace) -> "Target":
        """Reads `1.37:1.43` and `PART=1.37:1.43`. Raises ConfigError for a part that is not there."""
        whole: CostRange | None = None
        own: dict[str, CostRange] = {}
        names = [part.name for part in space.parts]
        for text in (piece for given in texts for piece in given.split(",")):
            name, equals, numbers = text.rpartition("=")
            if not equals:
                if whole is not None:
                    raise ConfigError(f"--flops gives two ranges for the whole network; {text} is the second")
                whole = parse_gflops(numbers)
            elif name not in names:
                raise ConfigError(f"--flops {text}: no part is called {name}; there are {', '.join(names)}")
            else:
                own[name] = parse_gflops(numbers)
        return cls(whole, own)

    def of(self, space: SearchSpace, number: int) -> CostRange | None:
        """The range of the network as it stands at the end of part `number`."""
        part = space.parts[number]
        if part.name in self.own:
            return self.own[part.name]
        return self.whole.share(part.share) if self.whole else None

    def final(self, space: SearchSpace) -> CostRange | None:
        """The range of the finished network."""
        return self.of(space, len(space.parts) - 1)

    def texts(self) -> list[str]:
        """As it would be typed."""
        ranges = ([("", self.whole)] if self.whole else []) + [(f"{name}=", r) for name, r in self.own.items()]
        return [f"{name}{r.low / 1e9:.10g}:{r.high / 1e9:.10g}" for name, r in ranges]


def uniform(table: CostTable) -> list[np.ndarray]:
    """The uniform prior over a table's decisions, as log-probabilities."""
    return [np.full(size, -np.log(size)) for size in table.sizes]


def check(space: SearchSpace, target: Target) -> None:
    """Raises CostRangeError, with the reachable range, when a search cannot meet its target in any way."""
    if target.whole is not None:
        table = space.cost_table()
        try:
            sample_in_range(table, uniform(table), *target.whole, 1, np.random.default_rng(0))
        except CostRangeError as error:
            raise CostRangeError(f"--flops: {error}") from None
    for number, part in enumerate(space.parts):
        wanted = target.of(space, number)
        if wanted is None:
            continue
        table = space.part_space(number, {}).cost_table()
        try:
            sample_in_range(table, uniform(table), wanted.low, wanted.high, 1, np.random.default_rng(0))
        except CostRangeError as error:
            whole = (
                f" (the share of part {part.name}, {part.share:.0%} of {target.whole})"
                if _shared(target, space, number)
                else ""
            )
            raise CostRangeError(f"--flops: {error}{whole}") from None
    if not leaves_room(space, -1, {}, target):
        raise CostRangeError(
            "--flops: each part's range can be met, but not one after the other: what one part uses leaves the next no "
            "architecture in its range; change the range, or the parts' shares in the space's YAML"
        )


def _shared(target: Target, space: SearchSpace, number: int) -> bool:
    return space.parts[number].name not in target.own and space.parts[number].share < 1


def leaves_room(space: SearchSpace, number: int, chosen: Mapping[str, Value], target: Target) -> bool:
    """Whether the parts after `number` can still meet their ranges once `chosen` is fixed.

    Some architectures of the next part are drawn from inside its range, and each is asked the same question.
    """
    following = number + 1
    if following == len(space.parts):
        return True
    wanted = target.of(space, following)
    if wanted is None:
        return leaves_room(space, following, chosen, target) if following + 1 < len(space.parts) else True
    there = space.part_space(following, chosen)
    table, rng = there.cost_table(), np.random.default_rng(0)
    n = LOOKAHEAD if following + 1 < len(space.parts) else 1
    try:
        rows = sample_in_range(table, uniform(table), wanted.low, wanted.high, n, rng)
    except CostRangeError:
        return False
    return any(
        leaves_room(space, following, decided(space, following, there.architecture(row)), target) for row in rows
    )


def decided(space: SearchSpace, number: int, arch: Architecture) -> dict[str, Value]:
    """What an architecture of part `number` decides for good: not the "skip" that stands for what is to come."""
    done = space.parts[: number + 1]
    return {name: value for name, value in arch.choices.items() if any(opens(part, name) for part in done)}


def choose(
    space: SearchSpace, number: int, there: SearchSpace, log_probs: Sequence[np.ndarray], target: Target
) -> tuple[Architecture, float]:
    """The most probable architecture of part `number` inside its range that leaves room for the parts after it.

    `there` is the part's space. Returns it with its log-probability. What room there is depends on a few choices (the
    widths that later parts see) and on the cost. So the best of each combination of these choices competes, and a
    combination whose best leaves no room is split by cost, down to slices of 1/32 of the range.

    Raises CostRangeError where there is none.
    """
    table = there.cost_table()
    low, high = target.of(space, number) or (table.smallest()[0], table.largest()[0])
    queue: list[_Slice] = []
    for choices in _seen_later(space, number, there):
        _push(queue, _Slice(there.fix(choices), low, high, 0), there, log_probs)
    while queue:
        best = heapq.heappop(queue)
        arch = best.space.architecture(best.found.choices)
        if leaves_room(space, number, decided(space, number, arch), target):
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
    fixed = sum(
        float(logp[0]) for logp in kept if len(logp) == 1
    )  # the solver normalises: these count there as certain
    piece.found = Solution(found.choices, found.logprob + fixed, found.cost)
    piece.rank = (-piece.found.logprob, len(queue))
    heapq.heappush(queue, piece)


def _seen_later(space: SearchSpace, number: int, there: SearchSpace) -> Iterator[dict[str, Value]]:
    """All combinations of the open choices that sites of later parts depend on."""
    names = [d.name for d in there.decisions if any(opens(part, d.name) for part in space.parts[: number + 1])]
    later = [site for site in sites(space.network) if any(name not in names for name in site.scope)]
    seen = [d for d in there.decisions if d.name in names and any(d.name in site.scope for site in later)]
    if prod(len(d.candidates) for d in seen) > COMBINATIONS:
        seen = []
    for values in itertools.product(*(d.candidates for d in seen)):
        yield dict(zip((d.name for d in seen), values))
