"""Search spaces, and architectures: the same with one candidate left for every decision. Data, not code.

The cost of every architecture of a space, whatever it counts, is one integer table a site, priced by its block.
"""

import hashlib
import itertools
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from numbers import Real
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from autovid.blocks.block import Choice
from autovid.blocks.site import Site
from autovid.config import dump_yaml, plain_document
from autovid.errors import ConfigError
from autovid.fileio import explained, write_atomic
from autovid.plugins import plugin_records
from autovid.solver import sample_in_range
from autovid.solver.cost_range import Quantity
from autovid.solver.table import CostTable, Factor
from autovid.space.checks import architecture_content, changed_reference, check_frames
from autovid.space.layout import Decision, decision_types, depth, is_searched_in, sites, with_streams
from autovid.space.schema import FORMAT, NetworkConfig, Part, Proxy, Reference, SearchRecipe, Value

GFLOPS = Quantity("FLOPs", "GFLOPs", "MACs", 10**9, "1.37:1.43")
LARGEST = 2**53  # atoms of one site: a network of 500 blocks stays within int64
Price = Callable[[Site, Choice], int]
"""The cost of a site for one value of each of its variables, in atoms."""


class SiteTable(CostTable):
    """The costs of all architectures of a space at one input, exact to the last atom."""

    def __init__(
        self,
        space: "SearchSpace",
        price: Price,
        reference: Reference | None = None,
        quantity: Quantity = GFLOPS,
        constant: int = 0,
    ) -> None:
        """Price every site at the space's reference input or another one; `constant` is added to every architecture.

        Raises ConfigError for frames that do not divide among the streams, and for a site beyond counting.
        """
        from autovid.blocks.trace import check_costs  # it runs blocks; spaces can be listed without torch

        self.space, self.reference = space, reference or space.reference
        check_frames(space.network, self.reference.frames)
        number = {decision.name: i for i, decision in enumerate(space.decisions)}
        candidates = space.candidates
        self.sites: list[tuple[Site, Factor]] = []
        for site in sites(space.network, self.reference):
            check_costs(site, candidates)
            costs = [price(site, site.choice(choices)) for choices in site_choices(site, candidates)]
            if max(costs) > LARGEST:
                much = f"{max(costs):.3g} {quantity.atom} in {site.name} alone"
                raise ConfigError(f"space {space.name}: {much}; make it smaller")
            table = np.array(costs, np.int64).reshape([len(candidates[name]) for name in site.scope])
            self.sites.append((site, Factor(tuple(number[name] for name in site.scope), table)))
        constant += sum(int(factor.table) for _, factor in self.sites if not factor.scope)
        super().__init__([factor for _, factor in self.sites if factor.scope], constant, space.sizes, quantity)

    def of(self, archs: "Sequence[Architecture] | np.ndarray") -> np.ndarray:
        """Costs, int64 (N,), of architectures of this space, or of their candidate numbers (N, D)."""
        return self.total(archs if isinstance(archs, np.ndarray) else self.space.index(archs))


class MacsTable(SiteTable):
    """The MACs of every architecture of a space: of convolution, linear and matmul, for one clip."""

    def __init__(self, space: "SearchSpace", reference: Reference | None = None) -> None:
        super().__init__(space, lambda site, choice: site.block.macs(site, choice), reference)

    def macs(self, archs: "Sequence[Architecture] | np.ndarray") -> np.ndarray:
        """MACs, int64 (N,), of architectures of this space, or of their candidate numbers (N, D)."""
        return self.of(archs)

    @property
    def convention(self) -> str:
        """The meaning of the figures, in a line."""
        return convention(self.reference)


def site_choices(site: Site, candidates: Mapping[str, tuple[Value, ...]]) -> Iterator[dict[str, Value]]:
    """All combinations of candidates that a site can have, the last decision's running fastest."""
    for values in itertools.product(*(candidates[name] for name in site.scope)):
        yield dict(zip(site.scope, values))


def gflops(macs: int, digits: int = 12) -> str:
    """`macs` in GFLOPs as plain decimal text without trailing zeros, to `digits` significant digits."""
    return GFLOPS.text(macs, digits=digits)


def convention(reference: Reference) -> str:
    """Return the meaning of a FLOPs figure, in one line for every file that carries one."""
    frames, classes = reference.frames, reference.classes
    return (
        "MACs (multiply-accumulates) of convolution, linear and matmul; batch norm, pooling and activations not "
        f"counted; one clip of {frames} frame{'s' * (frames != 1)} at {reference.crop}x{reference.crop}, "
        f"{classes} class{'es' * (classes != 1)}; 1 GFLOPs = 1e9 MACs"
    )


@dataclass(frozen=True)
class SearchSpace:
    """Everything that can be built from one macro table; with one candidate a decision it is one architecture."""

    name: str
    network: NetworkConfig
    decisions: tuple[Decision, ...]
    reference: Reference
    parts: tuple[Part, ...] = ()
    recipe: SearchRecipe | None = None
    proxy: Proxy | None = None
    text: str = field(default="", compare=False, repr=False)  # the YAML it was read from

    @property
    def size(self) -> int:
        """The number of architectures in the space."""
        return math.prod(len(decision.candidates) for decision in self.decisions)

    @property
    def candidates(self) -> dict[str, tuple[Value, ...]]:
        """The candidates of every decision, by name."""
        return {decision.name: decision.candidates for decision in self.decisions}

    @property
    def sizes(self) -> tuple[int, ...]:
        """The number of candidates of every decision."""
        return tuple(len(decision.candidates) for decision in self.decisions)

    def index(self, archs: "Iterable[Architecture]") -> np.ndarray:
        """Candidate numbers, int64 (N, D), of architectures of this space. Raises ConfigError for one that is not.

        Those that `architecture` made from numbers still have them; others are looked up, once.
        """
        numbers = _Numbers(self)
        rows = [numbers.of(arch) for arch in archs]
        numbers_of_all = np.concatenate(rows) if rows else np.zeros(0, np.int64)
        return numbers_of_all.reshape(len(rows), len(self.decisions))

    def architecture(self, choice: Sequence[int] | np.ndarray) -> "Architecture":
        """Return the architecture with these candidate numbers, (D,)."""
        numbers = np.array(choice, np.int64)
        choices = {d.name: d.candidates[i] for d, i in zip(self.decisions, numbers.tolist(), strict=True)}
        arch = Architecture(self.name, self.network, self.reference, choices)
        object.__setattr__(arch, "numbers", (self.decisions, numbers))
        return arch

    def sample(self, n: int, seed: int = 0, macs: tuple[float, float] | None = None) -> "list[Architecture]":
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
        uniform = [np.full(size, -np.log(size)) for size in self.sizes]
        rows = sample_in_range(self.cost_table(), uniform, int(macs[0]), int(macs[1]), n, rng, distinct=True)
        return [self.architecture(row) for row in rows]

    def cost_table(self, crop: int | None = None, frames: int | None = None, classes: int | None = None) -> MacsTable:
        """MACs of every architecture in closed form, at the reference input unless told otherwise.

        Raises ConfigError for an input that cannot be.
        """
        return MacsTable(self, changed_reference(self.reference, crop=crop, frames=frames, classes=classes))

    def fix(self, choices: Mapping[str, Value]) -> "SearchSpace":
        """Return the space in which these decisions are made. Raises ConfigError for a value that is no candidate."""
        left = []
        for decision in self.decisions:
            value = choices.get(decision.name)
            if value is not None and value not in decision.candidates:
                raise ConfigError(f"{decision.name}: {value!r} is not one of {list(decision.candidates)}")
            left.append(decision if value is None else Decision(decision.name, (value,)))
        return replace(self, decisions=tuple(left))

    def part_space(self, number: int, chosen: Mapping[str, Value]) -> "SearchSpace":
        """Return the space of part `number`: its streams alone, what earlier parts chose, "skip" for what is to come.

        What is to come and has no "skip" stays undecided.
        """
        part = self.parts[number]
        network = with_streams(self.network, part.streams)
        choices = dict(chosen)
        for decision in self.decisions:
            later = any(is_searched_in(part, decision.name) for part in self.parts[number + 1 :])
            if later and decision.name not in choices and "skip" in decision.candidates:
                choices[decision.name] = "skip"
        names = decision_types(network, self.reference)
        return replace(self, network=network, decisions=tuple(d for d in self.decisions if d.name in names)).fix(
            choices
        )


@dataclass(frozen=True)
class Architecture:
    """One architecture: a macro table and one candidate for every decision.

    `space` is the name of the space that it comes from; `provenance` says how it was found.
    """

    space: str
    network: NetworkConfig
    reference: Reference
    choices: Mapping[str, Value]
    cost: Mapping[str, Any] = field(default_factory=dict, compare=False)
    provenance: Mapping[str, Any] = field(default_factory=dict, compare=False)
    numbers: tuple[tuple[Decision, ...], np.ndarray] | None = field(
        default=None, init=False, compare=False, repr=False
    )  # of its candidates in the space that it was made from, (D,); no file has them

    @property
    def hash(self) -> str:
        """Twelve hex digits that depend on the network alone: equal networks, equal hashes, on any machine."""
        # Numbers are written as floats, so that 3 and 3.0 are the same expansion.
        choices = {k: float(v) if isinstance(v, int) else v for k, v in self.choices.items()}
        network = msgspec.to_builtins(self.network)
        for stream in network["streams"].values():
            if "frame_stride" in stream:
                stream["every"] = stream.pop(
                    "frame_stride"
                )  # its first name: hashes that were noted keep their meaning
        content = json.dumps([network, choices], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(content.encode()).hexdigest()[:12]

    def __hash__(self) -> int:
        return hash(self.hash)

    def as_space(self) -> SearchSpace:
        """Return the space with this one architecture in it, which is what the builder takes."""
        decisions = tuple(Decision(name, (value,)) for name, value in self.choices.items())
        return SearchSpace(self.space, self.network, decisions, self.reference)

    def macs(self) -> int:
        """MACs of one clip at the reference input."""
        return int(self.as_space().cost_table().macs([self])[0])

    def scaled(
        self,
        crop: int | None = None,
        frames: int | None = None,
        depth_factor: float | None = None,
        stride: int | None = None,
    ) -> "Architecture":
        """Return the same architecture at another input and depth, as X3D scales S to M to L.

        A deeper or shallower stage takes the choices of its blocks in proportion: block j of n from block j*m//n of m;
        the published models' rule is not known (ours). Raises ConfigError for what no file could hold.
        """
        changes = {"crop": crop, "frames": frames, "stride": stride}
        content: dict[str, Any] = {"format": FORMAT, "space": self.space, "choices": {}}
        content["reference"] = msgspec.to_builtins(self.reference)
        content["reference"] |= {key: value for key, value in changes.items() if value is not None}
        content["network"] = msgspec.to_builtins(self.network)
        if depth_factor is not None:
            content["network"]["depth_factor"] = depth_factor
        checked = architecture_content(plain_document(content, "the scaled architecture"))
        names = decision_types(checked.network, checked.reference)
        choices = {name: self.choices[self._origin(name, checked.network)] for name in names}
        provenance = {**self.provenance, "scaled_from": self.hash}
        return Architecture(self.space, checked.network, checked.reference, choices, {}, provenance)

    def _origin(self, name: str, network: NetworkConfig) -> str:
        """Return the decision of this architecture that one of a deeper or shallower network takes its choice from."""
        if ".block" not in name:
            return name
        stream, stage, block, variable = name.split(".")
        base = network.streams[stream].stages[int(stage.removeprefix("stage")) - 1].depth
        now, then = depth(base, network.depth_factor), depth(base, self.network.depth_factor)
        index = (int(block.removeprefix("block")) - 1) * then // now
        return f"{stream}.{stage}.block{index + 1}.{variable}"

    def _sources(self) -> Iterator[str | None]:
        """Yield the plugins that the blocks and operations of this architecture come from."""
        for site in sites(self.network, self.reference):
            if definition := site.definition(site.choice(self.choices)):
                registry, name = definition
                yield registry.source(name)

    def to_yaml(self) -> str:
        """Return the text of an architecture file."""
        cost = dict(self.cost) or {"macs": self.macs(), "gflops": round(self.macs() / 1e9, 6)}
        cost["convention"] = convention(self.reference)
        content = {
            "format": FORMAT,
            "space": self.space,
            "hash": self.hash,
            "plugins": msgspec.to_builtins(plugin_records(self._sources())),
            "cost": cost,
            "provenance": dict(self.provenance),
            "reference": msgspec.to_builtins(self.reference),
            "network": msgspec.to_builtins(self.network),
            "choices": dict(self.choices),
        }
        return dump_yaml({key: value for key, value in content.items() if value != {}})

    def save(self, path: str | Path) -> None:
        """Write the architecture as YAML, whole or not at all. Raises RunError where it cannot be written."""
        path = Path(path)
        with explained(f"cannot write {path}"):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, self.to_yaml())


class _Numbers:
    """Looks up the candidate numbers of architectures of one space."""

    def __init__(self, space: SearchSpace) -> None:
        self._space, self._same = space, {id(space.decisions): True}
        self._names = [decision.name for decision in space.decisions]
        self._where = [{value: i for i, value in enumerate(d.candidates)} for d in space.decisions]

    def of(self, arch: Architecture) -> np.ndarray:
        """Return candidate numbers (D,). Raises ConfigError for an architecture of another space."""
        if arch.numbers is not None and self._is_ours(arch.numbers[0]):
            return arch.numbers[1]
        try:
            values = map(arch.choices.__getitem__, self._names)
            numbers = np.fromiter(map(dict.__getitem__, self._where, values), np.int64, len(self._names))
        except KeyError as error:
            name = self._space.name
            raise ConfigError(f"architecture {arch.hash} is not of space {name}: {error.args[0]}") from None
        object.__setattr__(arch, "numbers", (self._space.decisions, numbers))
        return numbers

    def _is_ours(self, decisions: tuple[Decision, ...]) -> bool:
        key = id(decisions)
        if key not in self._same:
            self._same[key] = decisions == self._space.decisions
        return self._same[key]


def rough(number: int) -> str:
    """Return a count that may be larger than any float: 1.8e+79."""
    return f"{float(number):.1e}" if number < 10**300 else f"{Decimal(number):.1e}"
