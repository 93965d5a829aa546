"""The FLOPs range as the user gives it, and each part's share of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from autovid.cost import CostRange, CostTable, in_order_of_probability, parse_gflops, sample_in_range
from autovid.errors import ConfigError, CostRangeError
from autovid.space import Architecture, SearchSpace
from autovid.space.layout import sites
from autovid.space.schema import Value
from autovid.space.space import opens

LOOKAHEAD = 16  # architectures of the next part that are tried before its range counts as out of reach
TRIES = 20_000  # architectures of this part that may turn out to leave no room for the next


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

    `there` is the part's space. Returns it with its log-probability. Raises CostRangeError where there is none.
    """
    table = there.cost_table()
    low, high = target.of(space, number) or (table.smallest()[0], table.largest()[0])
    room: dict[tuple[object, ...], bool] = {}
    for tried, found in enumerate(in_order_of_probability(table, log_probs, low, high)):
        arch = there.architecture(found.choices)
        chosen = decided(space, number, arch)
        key = (*_seen_later(space, chosen), (found.cost - low) * 8 // (high - low + 1))
        if key not in room:
            room[key] = leaves_room(space, number, chosen, target)
        if room[key]:
            return arch, found.logprob
        if tried >= TRIES:
            break
    raise CostRangeError(f"part {space.parts[number].name}: no architecture in its range leaves room for the next part")


def _seen_later(space: SearchSpace, chosen: Mapping[str, Value]) -> list[Value]:
    """The choices that the sites of later parts depend on, which decide what room there is (besides the cost)."""
    later = [site for site in sites(space.network) if any(name not in chosen for name in site.scope)]
    return [chosen[name] for name in dict.fromkeys(n for site in later for n in site.scope) if name in chosen]
