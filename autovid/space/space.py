"""A search space: a network's macro table and a list of decisions, each with candidates."""

import fnmatch
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from numbers import Real
from typing import TYPE_CHECKING

import numpy as np

from autovid.blocks.site import BlockSite
from autovid.errors import ConfigError
from autovid.space.architecture import Architecture
from autovid.space.layout import sites
from autovid.space.schema import Network, Part, Proxy, Recipe, Reference, StreamCandidates, Value

if TYPE_CHECKING:
    from autovid.costs import MacsTable


@dataclass(frozen=True)
class Decision:
    """One choice to be made: its name, such as `sparse.stage1.block2.expansion`, and its candidates."""

    name: str
    candidates: tuple[Value, ...]


def rough(number: int) -> str:
    """A count that may be larger than any float: 1.8e+79."""
    return f"{float(number):.1e}" if number < 10**300 else f"{Decimal(number):.1e}"


@dataclass(frozen=True)
class SearchSpace:
    """Everything that can be built from one macro table; with one candidate a decision it is one architecture."""

    name: str
    network: Network
    decisions: tuple[Decision, ...]
    reference: Reference
    parts: tuple[Part, ...] = ()
    recipe: Recipe | None = None
    proxy: Proxy | None = None
    text: str = field(default="", compare=False, repr=False)  # the YAML it was read from

    @property
    def size(self) -> int:
        """How many architectures the space holds."""
        return math.prod(len(decision.candidates) for decision in self.decisions)

    @property
    def candidates(self) -> dict[str, tuple[Value, ...]]:
        """The candidates of every decision, by name."""
        return {decision.name: decision.candidates for decision in self.decisions}

    @property
    def sizes(self) -> tuple[int, ...]:
        """The number of candidates of every decision."""
        return tuple(len(decision.candidates) for decision in self.decisions)

    def index(self, archs: Iterable[Architecture]) -> np.ndarray:
        """Candidate numbers, int64 (N, D), of architectures of this space. Raises ConfigError for one that is not."""
        where = [{value: i for i, value in enumerate(d.candidates)} for d in self.decisions]
        rows = []
        for arch in archs:
            try:
                rows.append([at[arch.choices[d.name]] for d, at in zip(self.decisions, where)])
            except KeyError as error:
                raise ConfigError(f"architecture {arch.hash} is not of space {self.name}: {error.args[0]}") from None
        return np.array(rows, dtype=np.int64).reshape(len(rows), len(self.decisions))

    def architecture(self, choice: Sequence[int] | np.ndarray) -> Architecture:
        """The architecture with these candidate numbers, (D,)."""
        choices = {d.name: d.candidates[int(i)] for d, i in zip(self.decisions, choice, strict=True)}
        return Architecture(self.name, self.network, self.reference, choices)

    def sample(self, n: int, seed: int = 0, macs: tuple[float, float] | None = None) -> list[Architecture]:
        """`n` architectures drawn uniformly; with `macs=(low, high)`, uniformly among the distinct ones inside.

        Raises ConfigError for an argument that cannot be, CostRangeError where the range does not hold so many.
        """
        if n < 0 or seed < 0:
            raise ConfigError(f"sample: {n} architectures with seed {seed}; both are 0 or more")
        rng = np.random.default_rng(seed)
        if macs is None:
            return [self.architecture([int(rng.integers(size)) for size in self.sizes]) for _ in range(n)]
        if len(macs) != 2 or not all(isinstance(end, Real) and math.isfinite(end) for end in macs):
            raise ConfigError(f"sample: macs={macs} needs two finite numbers of MACs")
        if macs[0] > macs[1]:
            raise ConfigError(f"sample: macs={macs} begins above its end")
        from autovid.solver import sample_in_range  # the one upward step: the public API is space.sample(macs=...)

        uniform = [np.full(size, -np.log(size)) for size in self.sizes]
        rows = sample_in_range(self.cost_table(), uniform, int(macs[0]), int(macs[1]), n, rng, distinct=True)
        return [self.architecture(row) for row in rows]

    def cost_table(self, crop: int | None = None, frames: int | None = None, classes: int | None = None) -> "MacsTable":
        """MACs of every architecture in closed form, at the reference input unless told otherwise."""
        from autovid.costs import macs_table

        return macs_table(self, crop=crop, frames=frames, classes=classes)

    def fix(self, choices: Mapping[str, Value]) -> "SearchSpace":
        """The space in which these decisions are made. Raises ConfigError for a candidate that is not there."""
        left = []
        for decision in self.decisions:
            value = choices.get(decision.name)
            if value is not None and value not in decision.candidates:
                raise ConfigError(f"{decision.name}: {value!r} is not one of {list(decision.candidates)}")
            left.append(decision if value is None else Decision(decision.name, (value,)))
        return replace(self, decisions=tuple(left))

    def part_space(self, number: int, chosen: Mapping[str, Value]) -> "SearchSpace":
        """The space of part `number`: its streams alone, what earlier parts chose, "skip" for what is to come.

        What is to come and has no "skip" stays undecided.
        """
        part = self.parts[number]
        network = with_streams(self.network, part.streams)
        made = dict(chosen)
        for decision in self.decisions:
            later = any(opens(part, decision.name) for part in self.parts[number + 1 :])
            if later and decision.name not in made and "skip" in decision.candidates:
                made[decision.name] = "skip"
        names = decision_names(network)
        there = replace(self, network=network, decisions=tuple(d for d in self.decisions if d.name in names))
        return there.fix(made)


def opens(part: Part, decision: str) -> bool:
    """Whether a part of the search decides this decision."""
    return any(fnmatch.fnmatchcase(decision, pattern) for pattern in part.search)


def with_streams(network: Network, streams: Sequence[str]) -> Network:
    """The macro table with only these streams; a fusion that has lost an end goes too."""
    import msgspec

    kept = {name: stream for name, stream in network.streams.items() if name in streams}
    fusion, attention = network.fusion, network.attention
    if fusion is not None and not {fusion.source, fusion.target} <= kept.keys():
        fusion = None
    if attention is not None and attention.stream not in kept:
        attention = None
    return msgspec.structs.replace(network, streams=kept, fusion=fusion, attention=attention)


def decision_names(network: Network) -> dict[str, None]:
    """The names of all decisions of a macro table, in the order of its sites (a dict for its order)."""
    return {name: None for site in sites(network) for name in site.scope}


def decide(
    network: Network,
    candidates: Mapping[str, StreamCandidates],
    fusion: tuple[str, ...],
    attention: tuple[str, ...],
) -> tuple[Decision, ...]:
    """The decisions of a macro table with these candidates."""
    found: dict[str, Decision] = {}
    for site in sites(network):
        for name in site.scope:
            if name not in found:
                found[name] = Decision(name, _candidates_of(name, site, candidates, fusion, attention))
    return tuple(found.values())


def _candidates_of(
    name: str,
    site: object,
    candidates: Mapping[str, StreamCandidates],
    fusion: tuple[str, ...],
    attention: tuple[str, ...],
) -> tuple[Value, ...]:
    stream, *_, variable = name.split(".")
    if stream == "fusion" and stream not in candidates:
        return fusion
    if stream == "attention" and stream not in candidates:
        return attention
    if variable == "width":
        return candidates[stream].width[int(name.split(".")[1].removeprefix("stage")) - 1]
    assert isinstance(site, BlockSite)
    values: tuple[Value, ...] = getattr(candidates[stream], variable)
    return values
